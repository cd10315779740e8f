{% set in_database = 'docker exec "$database"' if on_swarm else 'compose exec -T database' %}
{% if database == 'postgres' %}
    {{ in_database }} pg_dump --username app --format custom app > "$1"
{% elif database == 'mariadb' %}
    {{ in_database }} sh -c 'MYSQL_PWD=$(cat /run/secrets/database_password) \
        exec mariadb-dump --user=app --single-transaction --quick --no-tablespaces --hex-blob app' > "$1"
{% else %}
    # Leave out what belongs to the whole server: tablespaces, GTIDs and masking policies.
    {{ in_database }} sh -c 'MYSQL_PWD=$(cat /run/secrets/database_password) \
        exec mysqldump --user=app --single-transaction --quick --no-tablespaces --set-gtid-purged=OFF \
        --skip-masking-policies --hex-blob app' > "$1"
{% endif %}
