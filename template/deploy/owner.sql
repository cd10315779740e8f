-- The application's role owns its database and nothing else. The superuser cannot log in from other containers.
\set password `cat /run/secrets/database_password`
CREATE ROLE app LOGIN PASSWORD :'password';
ALTER DATABASE app OWNER TO app;
ALTER ROLE postgres PASSWORD NULL;
