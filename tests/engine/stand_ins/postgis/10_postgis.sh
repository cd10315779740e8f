# As in the official image, the first database has the extensions, and so has a template.
query --dbname "$POSTGRES_DB" <<< 'CREATE DATABASE template_postgis IS_TEMPLATE true;'
for name in template_postgis "$POSTGRES_DB"; do
    for extension in postgis postgis_topology fuzzystrmatch postgis_tiger_geocoder; do
        query --dbname "$name" <<< "CREATE EXTENSION IF NOT EXISTS $extension;"
    done
done
