
# query ROLE: run SQL in the site's database
query() {
    compose exec -T database psql --username "$1" --dbname app --quiet --no-psqlrc --tuples-only --no-align --set ON_ERROR_STOP=1
}

# PostgreSQL's first role is its superuser for ever. So the one that its first boot calls app gets another name and no
# login, and a new app, with the old one's password, owns the database and what is in it, and nothing more.
compose up --detach --wait database || stop "The database does not get healthy: its logs tell why"
if [ "$(echo "SELECT rolsuper FROM pg_roles WHERE rolname = 'app'" | query app)" = t ]; then
    schema=$(compose exec -T database pg_dump --username app --schema-only app < /dev/null) || stop "The database's tables cannot be listed"
    query app <<END
SELECT 'CREATE ROLE postgres SUPERUSER LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'postgres') \gexec
END
    query postgres <<END || stop "The tables cannot be given to app, and all is as it was: run make deploy again"
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
