SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ('app', 'restored');
BEGIN;
ALTER DATABASE app RENAME TO exchanged;
ALTER DATABASE restored RENAME TO app;
ALTER DATABASE exchanged RENAME TO restored;
COMMIT;
