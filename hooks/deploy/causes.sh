# cause: print one line of a log, from stdin, that says why something failed: its last error, or else its last line
cause() {
    awk '
        /"level": "(ERROR|CRITICAL)"/ {
            match($0, /"message": "([^"\\]|\\.)*"/)
            found = substr($0, RSTART + 12, RLENGTH - 13)
            if (match($0, /"exception": "([^"\\]|\\.)*"/)) found = substr($0, RSTART + 14, RLENGTH - 15)
            sub(/.*\\n/, "", found)
            gsub(/\\"/, "\"", found)
        }
        /^([A-Za-z_]+[.])*[A-Za-z_]*(Error|Exception)(: |$)|^Configuration error: / { found = $0 }
        NF { last = $0 }
        END { print found ? found : last }'
}

# tell COMMAND...: run it, show what it prints, and set $reason to the cause if it fails
tell() {
    { "$@" 2>&1 || touch data/.failed; } | tee -i data/.said
    reason=$(cause < data/.said)
    ! rm data/.failed data/.said 2> /dev/null
}

# why SERVICE...: print why the services are not healthy
why() {
    for each in $(for service; do containers "$service"; done); do
        docker inspect --format '{% raw %}{{.State.Status}} {{with .State.Health}}{{.Status}}{{end}}{% endraw %}' "$each" | grep -qx 'running healthy' || {
            docker logs --tail 20 "$each" 2>&1
            docker inspect --format '{% raw %}{{with .State.Health}}{{range .Log}}{{.Output}}{{end}}{{end}}{% endraw %}' "$each"
        }
    done | cause
}
