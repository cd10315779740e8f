# check_names: stop unless visitors can reach the site under these names and ports. Set what depends on them: the first
# name, SITE_HOST, is the site's, and the others redirect to it.
check_names() {
    read_settings
    names=$(setting SITE_HOST)
    [ -n "$names" ] || stop "SITE_HOST is missing: add SITE_HOST=www.example.com to production.env"
    if echo "$names" | LC_ALL=C grep -q '[^ -~]'; then
        # Browsers and Caddy use the ASCII form of an international name.
        names=$(docker run --rm --network none "$(sed -n 's/^ARG PYTHON_IMAGE=//p' Dockerfile)" python -c '
import sys
name = sys.argv[1].lower()
ascii = ",".join(each.encode("idna").decode() for each in name.split(","))
print(ascii if ",".join(each.encode().decode("idna") for each in ascii.split(",")) == name else name)' "$names" 2> /dev/null || echo "$names")
    fi
    SITE_NAMES=''
    part='[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?'
    while read -r name; do
        echo "$name" | grep -xE '.{1,253}' | LC_ALL=C grep -qixE "$part([.]$part)*" ||
            stop "SITE_HOST has \"$name\", which is not a host name: write names only, such as www.example.com,example.com, without scheme, port, path and spaces"
        ! echo "$name" | grep -qE '(^|[.])[0-9]+$' || stop "SITE_HOST has \"$name\", which is an address: certificates are for names"
        case " $SITE_NAMES " in *" $name "*) stop "SITE_HOST has $name twice: remove one of them" ;; esac
        SITE_NAMES="$SITE_NAMES${SITE_NAMES:+ }$name"
    done <<END
$(echo "$names" | tr , '\n')
END
    SITE_HOST=${SITE_NAMES%% *}
    for each in HTTP_PORT HTTPS_PORT MAX_BODY_MB HSTS_SECONDS; do
        value=$(setting "$each")
        case "$value" in
            *[!0-9]*) stop "$each is \"$value\": set it to a number in production.env" ;;
        esac
        [ "${value:-1}" != 0 ] || [ "$each" = HSTS_SECONDS ] || stop "$each is 0: set it to 1 or more in production.env"
    done
    port=$(setting HTTPS_PORT)
    SITE_ADDRESS=https://$SITE_HOST$([ "${port:-443}" = 443 ] || echo ":$port")
    seconds=$(setting HSTS_SECONDS)
    HSTS="max-age=${seconds:-3600}"
    ! asked_for HSTS_SUBDOMAINS || HSTS="$HSTS; includeSubDomains"
    ! asked_for HSTS_PRELOAD || HSTS="$HSTS; preload"
    export SITE_NAMES SITE_HOST SITE_ADDRESS HSTS
}

# asked_for NAME: succeed if a setting that is a yes or a no is a yes
asked_for() {
    case "$(setting "$1" | tr '[:upper:]' '[:lower:]')" in 1 | true | yes | on) ;; *) return 1 ;; esac
}
