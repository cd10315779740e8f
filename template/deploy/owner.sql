-- The application's role owns its database and nothing else. Nobody can log in as the superuser from another container.
\set password `cat /run/secrets/database_password`
CREATE ROLE app LOGIN PASSWORD :'password';
ALTER DATABASE app OWNER TO app;
ALTER ROLE postgres PASSWORD NULL;
