cd /backup
{% if database == 'postgres' %}
# Extensions may belong to an administrator.
pg_restore --list database | grep -v ' COMMENT - EXTENSION ' > list
pg_restore --no-owner --no-privileges --use-list list --file sql database
printf '%s\n' "SELECT format('DROP TABLE IF EXISTS %I.%I CASCADE', schemaname, tablename)
    FROM pg_tables WHERE tableowner = current_user AND
    schemaname !~ '^(pg_|information_schema)' \gexec" > empty
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --single-transaction --file empty --file sql "$@"
{% else %}
for name; do :; done  # the last argument
{
    echo "DROP DATABASE \`$name\`; CREATE DATABASE \`$name\`; USE \`$name\`;"
    cat database
} | {{ 'mariadb' if database == 'mariadb' else 'mysql' }} "$@"
{% endif %}
