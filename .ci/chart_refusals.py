"""Values that have to be refused, and by which words: who refuses for another reason has not been tested."""

from chart_helm import Helm, Refused, value_set, with_values

TLS = {"tls.existingSecret": "serving"}
PG = {"postgres.url": "postgres://ticketd@db/ticketd"}
ISSUER = {"config.identity": {"issuer": "https://k.example", "audience": "ticketd"}}
KEYS = {"jwks_url": "https://k.example/keys"}
RULES = {"enabled": True, "renderMode": "alwaysRender", "runbookBaseUrl": "https://runbooks.example"}
PAGES = {"enabled": True, "publicUrl": "https://t.example"}
REVIEW = {"config.identity": ISSUER["config.identity"] | {"token_review": True}}
INLINE = {"secrets": {"inline": {"client-secret": "x", "private-key.xml": "x", "sealing-key": "x"}}}

# (changes to minimal.yaml, what the refusal says, options of the rendering)
REFUSED = [
    # SQLite's file is for one machine.
    ({"replicas": 2}, "replicas"),
    ({"replicas": -1}, "replicas"),
    ({"autoscaling.enabled": True}, "autoscaling"),
    # Unknown keys, at every level.
    ({"typo": 1}, "typo"),
    ({"image.typo": 1}, "typo"),
    ({"secrets.keys.typo": "x"}, "typo"),
    ({"tls.certManager.issuerRef.typo": "x"}, "typo"),
    ({"networkPolicy.typo": 1}, "typo"),
    ({"networkPolicy.callers": [{"typo": {}}]}, "typo"),
    ({"metrics.monitor.typo": 1}, "typo"),
    ({"podSecurityContext.typo": 1}, "typo"),
    ({"resources.typo": 1}, "typo"),
    ({"probes.liveness.grpc": {"port": 1}}, "grpc"),
    ({"tolerations": [{"typo": 1}]}, "typo"),
    ({"config.typo": {}}, "typo"),
    ({"config.tickets.unknown": 1}, "unknown"),
    # Secrets.
    ({"secrets.clientSecret": "inline"}, "clientSecret"),
    ({"secrets.existingSecret": ""}, "secrets.existingSecret is required"),
    ({"secrets.inline": {"client-secret": "x"}}, "existingSecret"),
    (INLINE | {"config.superoffice.environment": "online"}, "environment"),
    (INLINE | {"secrets/existingSecrets": {"database": "postgres-app"}}, "database"),
    ({"secrets": {"inline": {"client-secret": "x", "private-key.xml": "x"}}}, 'secrets.inline lacks "sealing-key"'),
    ({"secrets": INLINE["secrets"] | {"keys": {"auditKey": "audit"}}}, 'secrets.inline lacks "audit"'),
    ({"secrets.keys.signingKeys": []}, "signingKeys"),
    ({"secrets.keys.sealingKeys": []}, "sealingKeys"),
    ({"secrets.keys.clientSecret": "a/b"}, "clientSecret"),
    ({"secrets.existingSecret": "Not_A_Name"}, "existingSecret"),
    # The configuration.
    ({"config.superoffice.environment": "prod"}, "environment"),
    ({"config.superoffice.client_id": ""}, "client_id"),
    ({"config.superoffice": {}}, "config.superoffice.environment is required"),
    ({"config.superoffice.client_secret_file": "/tmp/secret"}, "client_secret_file"),
    ({"config.server.address": "0.0.0.0:8443"}, "address"),
    ({"config.server.drain_delay": "1s"}, "drain_delay"),
    ({"config.server.unix_socket": "/tmp/x"}, "unix_socket"),
    ({"config.server.allow_unidentified_callers": True}, "allow_unidentified_callers"),
    ({"config.store": {"url": "sqlite:///tmp/x"}}, "store"),
    ({"config.tls": {"key_file": "/tmp/x"}}, "tls"),
    ({"config.http.address": "0.0.0.0:80"}, "address"),
    ({"config.admin": {"address": "0.0.0.0:80"}}, "admin"),
    ({"config.tickets.lifetime": 6}, "lifetime"),
    ({"config.tickets.lifetime": "six hours"}, "lifetime"),
    ({"config.tickets.capacity": 0}, "capacity"),
    # The database.
    ({"postgres.url": "sqlite:///tmp/x"}, "postgres"),
    ({"postgres.url": "postgres://ticketd:password@db/ticketd"}, "postgres"),
    ({"postgres.url": "postgres://ticketd@db/ticketd?sslmode=require"}, "postgres"),
    (PG | {"postgres.maxConnections": 0}, "maxConnections"),
    # Callers.
    ({"policy": None}, "policy is required"),
    ({"policy.apiVersion": "policy/v2"}, "apiVersion"),
    ({"policy.callers": [{"unixUser": 1, "rpcs": ["GetSystemTickets"], "tenants": ["*"]}]}, "rpcs"),
    ({"policy.callers": [{"unixUser": 1, "rpcs": ["*"], "tenants": ["*"]}]}, "rpcs"),
    ({"policy.callers": [{"unixUser": 1, "rpcs": ["GetTenant"], "tenants": ["*", "Cust1"]}]}, "tenants"),
    ({"policy.callers": [{"unixUser": 1, "rpcs": ["GetTenant"], "tenants": ["*"], "deny": True}]}, "deny"),
    (ISSUER, "tls.existingSecret or tls.certManager is required"),
    ({"config.identity.token_review": True}, "identity"),
    (TLS | {"config.identity": ISSUER["config.identity"] | {"token_file": "/tmp/token"}}, "token_file"),
    (TLS | {"config.identity": ISSUER["config.identity"] | {"jwks_url": "http://k.example/keys"}}, "jwks_url"),
    (TLS | {"config.identity": ISSUER["config.identity"] | KEYS | {"token_review": True}}, "identity"),
    (TLS | REVIEW | {"serviceAccount.create": False}, "serviceAccount.name is required"),
    (TLS | REVIEW | {"serviceAccount": {"create": False, "name": "default"}}, "serviceAccount.name is required"),
    (TLS | {"tls.clientCertificate": "never"}, "clientCertificate"),
    (TLS | {"tls.bundles.trustDomains": {"Corp": "corp.pem"}}, "Corp"),
    (TLS | {"tls.bundles.dnsCa": "a/b"}, "dnsCa"),
    (TLS | {"tls.bundles.dnsCa": "dns.pem"}, "tls.bundles.configMap is required"),
    (TLS | {"tls.certManager.enabled": True}, "existingSecret"),
    ({"tls.certManager.enabled": True}, "tls.certManager.issuerRef.name is required"),
    ({"tls.certManager": {"enabled": True, "issuerRef": {"name": "x"}, "sampleClient": {"enabled": True}}}, "sampleClient.uri is required"),
    ({"tls.certManager.duration": "a day"}, "duration"),
    # Ports and addresses.
    ({"grpc.port": 443}, "port"),
    ({"admin.port": 82}, "port"),
    ({"health.host": "localhost"}, "host"),
    ({"http.enabled": True}, "http.publicUrl is required"),
    ({"http.publicUrl": "http://tickets.example.com"}, "publicUrl"),
    ({"http.publicUrl": "https://tickets.example.com/path"}, "publicUrl"),
    ({"http": {"enabled": True, "publicUrl": "https://t.example", "ingress": {"enabled": True}}}, "http.ingress.tlsSecret is required"),
    ({"service.trafficDistribution": "Near"}, "trafficDistribution"),
    # What runs, and where.
    ({"image.digest": "latest"}, "digest"),
    ({"image.tag": "latest"}, "tag"),
    ({"persistence.accessModes": ["ReadWriteMany"]}, "accessModes"),
    ({"commonLabels": {"app.kubernetes.io/name": "other"}}, "app.kubernetes.io/name"),
    ({"podLabels": {"app.kubernetes.io/instance": "other"}}, "app.kubernetes.io/instance"),
    ({"podLabels": {"a": "b c"}}, "podLabels"),
    ({"resources.limits": {"memory": "much"}}, "memory"),
    ({"podDisruptionBudget": {"minAvailable": 1, "maxUnavailable": 1}}, "podDisruptionBudget"),
    ({"podDisruptionBudget.minAvailable": "half"}, "minAvailable"),
    (PG | {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 2}}, "autoscaling.minReplicas is more than"),
    (PG | {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": 0}}, "targetMemoryUtilizationPercentage is required"),
    (PG | {"replicas": 3, "podDisruptionBudget.minAvailable": "100%"}, "lets no pod go"),
    (PG | {"replicas": 3, "podDisruptionBudget.minAvailable": "67%"}, "lets no pod go"),
    (PG | {"replicas": 3, "podDisruptionBudget.minAvailable": 3}, "lets no pod go"),
    (PG | {"replicas": 3, "podDisruptionBudget.maxUnavailable": 0}, "lets no pod go"),
    (PG | {"replicas": 3, "podDisruptionBudget.maxUnavailable": "0%"}, "lets no pod go"),
    (PG | {"autoscaling.enabled": True, "podDisruptionBudget.minAvailable": 2}, "lets no pod go"),
    ({"topologySpreadConstraints": [{"topologyKey": "zone"}]}, "maxSkew"),
    ({"openshift.adaptSecurityContext": "perhaps"}, "adaptSecurityContext"),
    ({"extraEnv": [{"value": "x"}]}, "name"),
    ({"shutdown.drainTimeoutSeconds": 0}, "drainTimeoutSeconds"),
    ({"metrics.monitor": {"enabled": True}, "admin.enabled": False}, "takes admin.enabled"),
    ({"metrics.monitor": {"enabled": True, "renderMode": "failIfMissing"}}, "the cluster has no monitoring.coreos.com/v1/PodMonitor"),
    ({"metrics.rules": RULES | {"job": "tickets"}, "admin.enabled": False}, "metrics.rules.enabled takes admin.enabled"),
    ({"metrics.rules": RULES | {"job": "tickets", "runbookBaseUrl": ""}}, "metrics.rules.runbookBaseUrl is required"),
    ({"metrics.rules.runbookBaseUrl": "docs/runbooks"}, "runbookBaseUrl"),
    ({"metrics.rules": RULES}, "metrics.rules.job is required"),
    ({"metrics.rules": RULES | {"job": 'a"b'}}, "job"),
    ({"networkPolicy.enabled": True, "metrics.monitor.enabled": True}, "networkPolicy.monitoring is required"),
    ({"networkPolicy.enabled": True, "metrics.rules": RULES | {"job": "tickets"}}, "networkPolicy.monitoring is required"),
    ({"networkPolicy.enabled": True, "http": PAGES}, "networkPolicy.pages is required"),
    ({"networkPolicy.dnsPorts": []}, "dnsPorts"),
    ({"networkPolicy.nodes": ["10.0.0.1"]}, "nodes"),
    ({"networkPolicy.flavor": "calico"}, "flavor"),
    ({"networkPolicy.internet": []}, "internet"),
    ({"tests.tenant": "Cust1"}, "tests.tenant and tests.deniedTenant take TLS"),
    ({"tests.tenant": "no tenant"}, "tenant"),
    ({"fullnameOverride": "1st"}, "cannot be a Service's name"),
    ({"shutdown.preStopSleepSeconds": 5}, "takes Kubernetes 1.30", {"kubernetes": "1.29.0"}),
    ({}, "which is incompatible with Kubernetes v1.26.0", {"kubernetes": "1.26.0"}),
]


def taken(helm: Helm, refused: list[tuple]) -> list[str]:
    """Those that were not refused, or not for the reason that they should be."""
    minimal = value_set("minimal")
    cases = [
        {"values": with_values(minimal, changes), "options": options[0] if options else {}, "words": words, "changes": changes}
        for changes, words, *options in refused
    ]
    helm.render_all(cases)
    found = []
    for case in cases:
        try:
            helm.render(case["values"], **case["options"])
        except Refused as refusal:
            if case["words"] not in str(refusal):
                found.append(f"{case['changes']} is refused for another reason: {refusal}")
        else:
            found.append(f"{case['changes']} is taken")
    return found
