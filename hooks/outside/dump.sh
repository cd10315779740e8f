{% if database == 'postgres' %}
pg_dump --format custom "$@"
{% elif database == 'mariadb' %}
mariadb-dump --single-transaction --quick --no-tablespaces --hex-blob "$@"
{% else %}
mysqldump --set-gtid-purged=OFF --skip-masking-policies \
    --single-transaction --quick --no-tablespaces --hex-blob "$@"
{% endif %}
