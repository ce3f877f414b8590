-- Secrets are sealed from here on. What was kept before was plain and is not read any more: put those tenants again.
-- The first five bytes of a record tell which key sealed it: which keys are needed is told by these indices.
CREATE INDEX tenants_sealed_with ON tenants (substr(system_user_token, 1, 5));
CREATE INDEX grants_sealed_with ON grants (substr(refresh_token, 1, 5));
