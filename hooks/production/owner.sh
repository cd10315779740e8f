
# query ROLE: run SQL in the site's database
query() {
    compose exec -T database psql --username "$1" --dbname app --quiet --no-psqlrc --tuples-only --no-align --set ON_ERROR_STOP=1
}

# The role that PostgreSQL creates at its first boot stays a superuser. It is called app, so it gets another name and
# cannot log in any more; a new role app, with the same password, owns only the database and its contents.
if [ "$(echo "SELECT rolsuper FROM pg_roles WHERE rolname = 'app'" | query app)" = t ]; then
    schema=$(compose exec -T database pg_dump --username app --schema-only app < /dev/null) || stop "The database's schema cannot be read: see the message above"
    query app <<END
SELECT 'CREATE ROLE postgres SUPERUSER LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'postgres') \gexec
END
    query postgres <<END || stop "The tables cannot be given to the new role app, and nothing was changed: run make deploy again"
BEGIN;
SET LOCAL lock_timeout = '30s';
SELECT rolpassword FROM pg_authid WHERE rolname = 'app' \gset
ALTER ROLE app RENAME TO bootstrap;
ALTER ROLE bootstrap NOLOGIN PASSWORD NULL;
CREATE ROLE app LOGIN PASSWORD :'rolpassword';
ALTER DATABASE app OWNER TO app;
$(printf '%s\n' "$schema" | sed -n '/^ALTER .* OWNER TO app;$/p')
COMMIT;
END
fi
