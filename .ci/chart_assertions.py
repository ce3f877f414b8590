"""What the chart makes of values: a table. Each group renders one set of values; each assertion has a name, what to look
at, and what has to be there."""

import json
import re
import tomllib

import yaml
from chart_helm import Helm, Rendering, value_set, with_values


def toml(rendering: Rendering) -> dict:
    return tomllib.loads(rendering.configuration)


def sources(rendering: Rendering) -> dict[str, dict[str, str]]:
    """Of the volume with secrets: each Secret's keys and the files that they become."""
    found = rendering.volumes["secrets"]["projected"]["sources"]
    return {one["secret"]["name"]: {item["key"]: item["path"] for item in one["secret"]["items"]} for one in found}


def spec(kind: str, name: str | None = None):
    return lambda rendering: rendering.one(kind, name)["spec"]


def ingress_from(port: str):
    """Who may come in by that port, in the NetworkPolicy; None when it has no rule."""
    def find(rendering: Rendering) -> object:
        for rule in rendering.one("NetworkPolicy")["spec"]["ingress"]:
            if port in [one["port"] for one in rule["ports"]]:
                return rule.get("from", "everybody")
        return None
    return find


def egress_to(port: int):
    def find(rendering: Rendering) -> object:
        for rule in rendering.one("NetworkPolicy")["spec"]["egress"]:
            if port in [one["port"] for one in rule["ports"]]:
                return rule.get("to", "everybody")
        return None
    return find


def namespace(name: str) -> dict:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def selects_only(expression: str, matchers: str) -> bool:
    """Whether every selector of ticketd's own metrics has these matchers."""
    selectors = re.findall(r"\b(?:ticketd|rpc_server|process)_\w+({[^}]*})?", expression)
    return bool(selectors) and all(matchers in selector for selector in selectors)


def pod_patterns(rendering: Rendering) -> set[str]:
    return {pattern for rule in alerts(rendering) for pattern in re.findall('pod=~"([^"]*)"', rule["expr"])}


def alerts(rendering: Rendering) -> list[dict]:
    return [rule for group in rendering.one("PrometheusRule")["spec"]["groups"] for rule in group["rules"]]


TEST_PODS = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "ticketd-test", "app.kubernetes.io/instance": "release"}}}
LONG = "a" * 70
PG = {"postgres.url": "postgres://ticketd@db.example.com:5432/ticketd"}
TLS = {"tls.existingSecret": "serving"}

# (values of ci/, changes, options of the rendering, [(name, what, wanted)])
GROUPS = [
    ("minimal", {}, {}, [
        ("without postgres.url it is a StatefulSet", lambda r: r.workload["kind"], "StatefulSet"),
        ("it is named by release and chart", lambda r: r.workload["metadata"]["name"], "release-ticketd"),
        ("it has one replica", lambda r: r.workload["spec"]["replicas"], 1),
        ("it is governed by the headless Service", lambda r: r.workload["spec"]["serviceName"], "release-ticketd"),
        ("a pod that is not ready blocks no update", lambda r: r.workload["spec"]["podManagementPolicy"], "Parallel"),
        ("it keeps five revisions", lambda r: r.workload["spec"]["revisionHistoryLimit"], 5),
        ("its claim is named data", lambda r: r.workload["spec"]["volumeClaimTemplates"][0]["metadata"]["name"], "data"),
        ("its claim has the cluster's class", lambda r: "storageClassName" in r.workload["spec"]["volumeClaimTemplates"][0]["spec"], False),
        ("its claim has labels that never change", lambda r: r.workload["spec"]["volumeClaimTemplates"][0]["metadata"]["labels"],
         {"app.kubernetes.io/name": "ticketd", "app.kubernetes.io/instance": "release"}),
        ("the selector is name and instance", lambda r: r.workload["spec"]["selector"]["matchLabels"],
         {"app.kubernetes.io/name": "ticketd", "app.kubernetes.io/instance": "release"}),
        ("the command is the image's", lambda r: "command" in r.container, False),
        ("the arguments name the configuration", lambda r: r.container["args"], ["serve", "--config", "/etc/ticketd/config/ticketd.toml"]),
        ("the image is of the chart's appVersion", lambda r: r.container["image"], "ticketd:0.1.0"),
        ("the image is pulled once", lambda r: r.container["imagePullPolicy"], "IfNotPresent"),
        ("no environment", lambda r: "env" in r.container or "envFrom" in r.container, False),
        ("ports are health and metrics", lambda r: r.ports, {"health": 8081, "metrics": 8082}),
        ("the grace period is 5 + 15 + 10 s", lambda r: r.pod["terminationGracePeriodSeconds"], 30),
        ("no hook before SIGTERM", lambda r: "lifecycle" in r.container, False),
        ("startup has a minute", lambda r: [r.container["startupProbe"][key] for key in ("periodSeconds", "failureThreshold")], [1, 60]),
        ("liveness is asked every ten seconds", lambda r: r.container["livenessProbe"]["periodSeconds"], 10),
        ("readiness is asked every five seconds", lambda r: r.container["readinessProbe"]["periodSeconds"], 5),
        ("the pod's user is not root", lambda r: r.pod["securityContext"]["runAsUser"], 65532),
        ("volumes are the group's", lambda r: r.pod["securityContext"]["fsGroup"], 65532),
        ("no links of other Services", lambda r: r.pod["enableServiceLinks"], False),
        ("an account of its own", lambda r: r.pod["serviceAccountName"], "release-ticketd"),
        ("kubectl logs shows ticketd", lambda r: r.template["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"], "ticketd"),
        ("only the configuration has a checksum", lambda r: [key for key in r.template["metadata"]["annotations"] if "checksum" in key], ["checksum/config"]),
        ("secrets come from one Secret", lambda r: sources(r), {"ticketd": {
            "client-secret": "client-secret", "private-key.xml": "signing-key-0", "sealing-key": "sealing-key-0"}}),
        ("memory is limited", lambda r: r.container["resources"]["limits"], {"memory": "512Mi"}),
        ("processor time is not", lambda r: "cpu" in r.container["resources"]["limits"], False),
        ("the headless Service has no address", lambda r: r.one("Service", "release-ticketd")["spec"]["clusterIP"], "None"),
        ("the headless Service names ready pods", lambda r: r.one("Service", "release-ticketd")["spec"]["publishNotReadyAddresses"], False),
        ("the other one has an address", lambda r: r.one("Service", "release-ticketd-clusterip")["spec"]["type"], "ClusterIP"),
        ("without TLS no Service leads callers in", lambda r: {port["name"] for one in r.all("Service") for port in one["spec"]["ports"]}, {"health", "metrics"}),
        ("health is HTTP/2 without TLS", lambda r: {port["appProtocol"] for one in r.all("Service") for port in one["spec"]["ports"] if port["name"] == "health"}, {"kubernetes.io/h2c"}),
        ("metrics are read of each pod, not of any", lambda r: [port["name"] for port in r.one("Service", "release-ticketd-clusterip")["spec"]["ports"]], ["health"]),
        ("nothing else is made", lambda r: r.kinds, {"ServiceAccount", "ConfigMap", "Service", "StatefulSet", "Pod"}),
        ("SQLite's file is on the volume", lambda r: toml(r)["store"]["url"], "sqlite:///var/lib/ticketd/ticketd.db"),
        ("callers are on the Unix socket", lambda r: toml(r)["server"]["unix_socket"], "/run/ticketd/ticketd.sock"),
        ("no address for callers without TLS", lambda r: "address" in toml(r)["server"], False),
        ("health is on every address", lambda r: toml(r)["server"]["health_address"], "0.0.0.0:8081"),
        ("the admin port is on every address", lambda r: toml(r)["admin"]["address"], "0.0.0.0:8082"),
        ("the drain's times are the chart's", lambda r: [toml(r)["server"][key] for key in ("drain_delay", "drain_timeout")], ["5s", "15s"]),
        ("the audit goes to stdout", lambda r: toml(r)["audit"], {"output": "stdout"}),
        ("the policy is mounted", lambda r: toml(r)["authorization"]["policy_file"], "/etc/ticketd/config/policy.yaml"),
        ("the policy is what the values say", lambda r: yaml.safe_load(r.one("ConfigMap")["data"]["policy.yaml"])["callers"][0]["unixUser"], 65532),
        ("the health test asks the Service", lambda r: r.one("Pod", "release-ticketd-test-ready")["spec"]["containers"][0]["args"],
         ["healthcheck", "--service", "readiness", "--address", "http://release-ticketd-clusterip.crm.svc:8081"]),
        ("tests run when they are asked for", lambda r: r.one("Pod")["metadata"]["annotations"]["helm.sh/hook"], "test"),
        ("a single pod has no spread", lambda r: "topologySpreadConstraints" in r.pod, False),
    ]),
    ("minimal", {"policy/callers": [{"unixUser": 7, "rpcs": ["GetSystemTicket"], "tenants": ["Cust1"]}]}, {}, [
        ("a new policy is read without a restart", lambda r: r.template["metadata"]["annotations"]["checksum/config"], "as in minimal"),
    ]),
    ("minimal", {"config.tickets": {"capacity": 7}}, {}, [
        ("a new configuration takes one", lambda r: r.template["metadata"]["annotations"]["checksum/config"], "not as in minimal"),
        ("numbers are integers in TOML", lambda r: toml(r)["tickets"]["capacity"], 7),
    ]),
    ("minimal", {"config.telemetry": {"log_filter": "debug"}}, {}, [
        ("a log filter is a file", lambda r: (toml(r)["telemetry"], r.one("ConfigMap")["data"]["log-filter"]), ({"log_filter_file": "/etc/ticketd/config/log-filter"}, "debug")),
    ]),
    ("production", {"config.telemetry": {"log_filter": "trace", "otlp_endpoint": "http://127.0.0.1:4317"}}, {}, [
        ("which changes without a restart", lambda r: r.template["metadata"]["annotations"]["checksum/config"], "as in production"),
    ]),
    ("minimal", {"fullnameOverride": LONG}, {}, [
        ("an overridden name is cut after 52", lambda r: r.workload["metadata"]["name"], "a" * 52),
        ("a Service's name is no longer than 63", lambda r: max(len(name) for _, name in r.names) <= 63, True),
    ]),
    ("minimal", {"nameOverride": "tickets"}, {}, [
        ("an overridden chart's name is in names and labels", lambda r: (r.workload["metadata"]["name"], r.template["metadata"]["labels"]["app.kubernetes.io/name"]), ("release-tickets", "tickets")),
    ]),
    ("minimal", {"nameOverride": LONG}, {}, [
        ("labels end at 63", lambda r: max(len(value) for value in r.template["metadata"]["labels"].values()), 63),
    ]),
    ("minimal", {}, {"release": "r" * 53}, [
        ("the longest release's name is cut after 52", lambda r: len(r.workload["metadata"]["name"]), 52),
    ]),
    ("minimal", {}, {"release": "my-ticketd"}, [
        ("a release that has the chart's name in its own does not get it twice", lambda r: r.workload["metadata"]["name"], "my-ticketd"),
    ]),
    ("minimal", {"enabled": False, "global.somethingOfTheParent": {"a": 1}}, {}, [
        ("a parent's condition and globals are taken", lambda r: r.workload["kind"], "StatefulSet"),
    ]),
    ("minimal", {"image.tag": "1.2.3"}, {}, [
        ("a tag wins over the appVersion", lambda r: r.container["image"], "ticketd:1.2.3"),
    ]),
    ("minimal", {"persistence.enabled": False}, {}, [
        ("without persistence the data is the pod's", lambda r: r.volumes["data"], {"name": "data", "emptyDir": {}}),
        ("without persistence there is no claim", lambda r: "volumeClaimTemplates" in r.workload["spec"], False),
    ]),
    ("minimal", {"persistence.existingClaim": "{{ .Release.Name }}-old"}, {}, [
        ("names of other objects may be templates", lambda r: r.volumes["data"]["persistentVolumeClaim"], {"claimName": "release-old"}),
    ]),
    ("minimal", {"serviceAccount.create": False, "serviceAccount.name": "theirs"}, {}, [
        ("an account that is there is used", lambda r: (r.pod["serviceAccountName"], "ServiceAccount" in r.kinds), ("theirs", False)),
    ]),
    ("minimal", TLS | {"serviceAccount": {"create": False, "name": "theirs"},
                       "config.identity": {"issuer": "https://k.example", "audience": "ticketd", "token_review": True}}, {}, [
        ("the right to ask about tokens is that account's", lambda r: r.one("ClusterRoleBinding")["subjects"],
         [{"kind": "ServiceAccount", "name": "theirs", "namespace": "crm"}]),
    ]),
    ("minimal", {"audit.output": "file"}, {}, [
        ("an audit's file has a volume", lambda r: (toml(r)["audit"]["path"], r.mounts["audit"]), ("/var/log/ticketd/audit.jsonl", "/var/log/ticketd")),
    ]),
    ("minimal", {}, {"apis": ("security.openshift.io/v1",)}, [
        ("on OpenShift the platform chooses the user", lambda r: {"runAsUser", "runAsGroup", "fsGroup"} & set(r.pod["securityContext"]), set()),
        ("on OpenShift the pod is not root all the same", lambda r: r.pod["securityContext"]["runAsNonRoot"], True),
    ]),
    ("minimal", {"openshift.adaptSecurityContext": "disabled"}, {"apis": ("security.openshift.io/v1",)}, [
        ("OpenShift's switch can be off", lambda r: r.pod["securityContext"]["runAsUser"], 65532),
    ]),
    ("minimal", PG, {}, [
        ("with postgres.url it is a Deployment", lambda r: r.workload["kind"], "Deployment"),
        ("it has no claim and no data", lambda r: "data" in r.mounts, False),
        ("one replica has no budget", lambda r: "PodDisruptionBudget" in r.kinds, False),
    ]),
    ("minimal", PG | {"replicas": 3, "podDisruptionBudget.enabled": False}, {}, [
        ("a budget can be left out", lambda r: "PodDisruptionBudget" in r.kinds, False),
    ]),
    ("minimal", PG | {"replicas": 3, "podDisruptionBudget.minAvailable": "66%"}, {}, [
        ("a budget that lets one go is one", lambda r: r.one("PodDisruptionBudget")["spec"]["minAvailable"], "66%"),
    ]),
    ("minimal", PG | {"replicas": 3, "podDisruptionBudget.minAvailable": 0}, {}, [
        ("a budget of none is one", lambda r: r.one("PodDisruptionBudget")["spec"]["minAvailable"], 0),
    ]),
    ("minimal", PG | {"config.telemetry.otlp_endpoint": "https://otel.example.com", "networkPolicy.enabled": True}, {}, [
        ("HTTPS without a port means 443", lambda r: [[port["port"] for port in rule["ports"]] for rule in spec("NetworkPolicy")(r)["egress"]], [[53, 53], [443], [5432], [443]]),
        ("without TLS no rule for callers", ingress_from("grpc"), None),
        ("without nodes' networks everybody may ask for health", ingress_from("health"), "everybody"),
        ("nobody reads metrics unless told", ingress_from("metrics"), None),
        ("a database is anywhere unless told", egress_to(5432), "everybody"),
    ]),
    ("minimal", {"config.identity": {"issuer": "https://k.example", "audience": "ticketd", "jwks_url": "https://k.example/keys"}} | TLS, {}, [
        ("keys from elsewhere take no token of ours", lambda r: "kubernetes" in r.volumes, False),
        ("keys from elsewhere take no right", lambda r: "ClusterRoleBinding" in r.kinds, False),
    ]),
    ("minimal", {"config.identity": {"issuer": "https://k.example", "audience": "ticketd"}} | TLS, {}, [
        ("the cluster's keys take a token", lambda r: r.volumes["kubernetes"]["projected"]["sources"][0]["serviceAccountToken"]["path"], "token"),
        ("the cluster's keys take no right", lambda r: "ClusterRoleBinding" in r.kinds, False),
    ]),
    ("minimal", {"metrics.monitor.enabled": True}, {}, [
        ("no monitor where its kind is missing", lambda r: "PodMonitor" in r.kinds, False),
    ]),
    ("minimal", {"metrics.monitor.enabled": True}, {"operators": True}, [
        ("a PodMonitor where it is there", lambda r: spec("PodMonitor")(r)["podMetricsEndpoints"][0],
         {"port": "metrics", "path": "/metrics", "interval": "30s", "scrapeTimeout": "10s"}),
    ]),
    ("minimal", {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "x", "whenUnsatisfiable": "DoNotSchedule",
                                                "labelSelector": {"matchLabels": {"a": "b"}}}]} | PG, {}, [
        ("who says what is counted is not overruled", lambda r: "matchLabelKeys" in r.pod["topologySpreadConstraints"][0], False),
    ]),
    ("minimal", PG | {"secrets": {"inline": {"client-secret": "x", "private-key.xml": "x", "sealing-key": "x", "db": "x"}, "keys": {"databasePassword": "db"}}}, {}, [
        ("an inline password, which is read once, has a checksum", lambda r: "checksum/database-password" in r.template["metadata"]["annotations"], True),
    ]),
    ("postgres", {}, {}, [
        ("three replicas", lambda r: r.workload["spec"]["replicas"], 3),
        ("updates never go below", lambda r: r.workload["spec"]["strategy"], {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}),
        ("a budget of one", lambda r: spec("PodDisruptionBudget")(r)["maxUnavailable"], 1),
        ("pods that are not ready hold up no node", lambda r: spec("PodDisruptionBudget")(r)["unhealthyPodEvictionPolicy"], "AlwaysAllow"),
        ("the budget selects the pods", lambda r: spec("PodDisruptionBudget")(r)["selector"]["matchLabels"] == r.workload["spec"]["selector"]["matchLabels"], True),
        ("replicas are spread over zones and nodes", lambda r: [one["topologyKey"] for one in r.pod["topologySpreadConstraints"]], ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]),
        ("only pods of one template are counted", lambda r: {str(one["matchLabelKeys"]) for one in r.pod["topologySpreadConstraints"]}, {"['pod-template-hash']"}),
        ("spread never keeps a pod from running", lambda r: {one["whenUnsatisfiable"] for one in r.pod["topologySpreadConstraints"]}, {"ScheduleAnyway"}),
        ("the password is a file", lambda r: toml(r)["store"]["password_file"], "/etc/ticketd/secrets/database-password"),
        ("the database's authorities are a file", lambda r: toml(r)["store"]["ca_file"], "/etc/ticketd/secrets/database-ca.pem"),
        ("connections are counted by pod", lambda r: toml(r)["store"]["max_connections"], 5),
        ("the way around the pooler is there", lambda r: toml(r)["store"]["session_url"], "postgres://ticketd@postgres.databases.svc:5432/ticketd"),
        ("no init container migrates", lambda r: "initContainers" in r.pod, False),
    ]),
    ("production", {}, {}, [
        ("a digest wins", lambda r: r.container["image"].startswith("images.example.com/crm/ticketd@sha256:"), True),
        ("two signing keys in their order", lambda r: toml(r)["superoffice"]["signing_key_files"], ["/etc/ticketd/secrets/signing-key-0", "/etc/ticketd/secrets/signing-key-1"]),
        ("the first sealing key stays first", lambda r: sources(r)["ticketd"]["sealing-key-2"], "sealing-key-0"),
        ("a passphrase is a file", lambda r: toml(r)["superoffice"]["signing_key_passphrase_file"], "/etc/ticketd/secrets/signing-key-passphrase"),
        ("tenants are a directory", lambda r: (toml(r)["store"]["tenants_directory"], r.mounts["tenants"]), ("/etc/ticketd/tenants",) * 2),
        ("callers are on every address over TLS", lambda r: toml(r)["server"]["address"], "0.0.0.0:8443"),
        ("callers show certificates", lambda r: toml(r)["tls"]["client_certificate"], "required"),
        ("each trust domain has its bundle", lambda r: toml(r)["tls"]["trust_bundles"],
         ["corp.example=/etc/ticketd/bundles/corp.example.pem", "partner.example=/etc/ticketd/bundles/partner.example.pem"]),
        ("both Services lead callers in, saying that it is TLS", lambda r: [port["appProtocol"] for one in r.all("Service") for port in one["spec"]["ports"] if port["name"] == "grpc"], ["https", "https"]),
        ("the pages have a Service", lambda r: r.one("Service", "release-ticketd-http")["spec"]["ports"],
         [{"name": "http", "port": 80, "targetPort": "http", "appProtocol": "http"}]),
        ("the pages' public address is told", lambda r: toml(r)["http"]["public_url"], "https://tickets.example.com"),
        ("the claim's mode is told", lambda r: r.workload["spec"]["volumeClaimTemplates"][0]["spec"]["accessModes"], ["ReadWriteOncePod"]),
        ("taints, nodes, neighbours and priority are told", lambda r: [key for key in ("affinity", "nodeSelector", "priorityClassName", "tolerations") if key in r.pod],
         ["affinity", "nodeSelector", "priorityClassName", "tolerations"]),
        ("labels of the pod are told", lambda r: r.template["metadata"]["labels"]["example.com/tier"], "backend"),
        ("annotations of the account are told", lambda r: r.one("ServiceAccount")["metadata"]["annotations"], {"example.com/owner": "crm"}),
        ("the pull secret is told", lambda r: r.pod["imagePullSecrets"], [{"name": "images"}]),
    ]),
    ("service-accounts", {}, {}, [
        ("token reviews take one right", lambda r: r.one("ClusterRoleBinding")["roleRef"]["name"], "system:auth-delegator"),
        ("the right is its own account's", lambda r: r.one("ClusterRoleBinding")["subjects"], [{"kind": "ServiceAccount", "name": "release-ticketd", "namespace": "crm"}]),
        ("the right's name has the namespace", lambda r: r.one("ClusterRoleBinding")["metadata"]["name"], "crm-release-ticketd-token-review"),
        ("the cluster's keys are asked for with it", lambda r: toml(r)["identity"]["token_file"], "/etc/ticketd/kubernetes/token"),
    ]),
    ("autoscaling", {}, {}, [
        ("an autoscaled Deployment has no number", lambda r: "replicas" in r.workload["spec"], False),
        ("the autoscaler has its bounds", lambda r: [spec("HorizontalPodAutoscaler")(r)[key] for key in ("minReplicas", "maxReplicas")], [3, 8]),
        ("the autoscaler looks at both resources", lambda r: {one["resource"]["name"]: one["resource"]["target"]["averageUtilization"] for one in spec("HorizontalPodAutoscaler")(r)["metrics"]}, {"cpu": 70, "memory": 80}),
        ("the autoscaler moves the Deployment", lambda r: spec("HorizontalPodAutoscaler")(r)["scaleTargetRef"], {"apiVersion": "apps/v1", "kind": "Deployment", "name": "release-ticketd"}),
        ("the autoscaler's pace is told", lambda r: spec("HorizontalPodAutoscaler")(r)["behavior"]["scaleDown"]["stabilizationWindowSeconds"], 600),
        ("a budget in percent", lambda r: (spec("PodDisruptionBudget")(r)["minAvailable"], "maxUnavailable" in spec("PodDisruptionBudget")(r)), ("50%", False)),
    ]),
    ("cert-manager", {}, {}, [
        ("a certificate for the server", lambda r: spec("Certificate", "release-ticketd")(r)["usages"], ["digital signature", "server auth"]),
        ("a certificate for a caller", lambda r: spec("Certificate", "release-ticketd-sample-client")(r)["usages"], ["digital signature", "client auth"]),
        ("it lives a day", lambda r: spec("Certificate", "release-ticketd")(r)["duration"], "24h"),
        ("it is made anew in time", lambda r: spec("Certificate", "release-ticketd")(r)["renewBefore"], "8h"),
        ("with a new key each time", lambda r: {one["spec"]["privateKey"]["rotationPolicy"] for one in r.all("Certificate")}, {"Always"}),
        ("its names are both Services', each pod's, and more", lambda r: {"release-ticketd.crm.svc", "release-ticketd-clusterip.crm.svc",
         "*.release-ticketd.crm.svc.cluster.local", "tickets.example.com"} - set(spec("Certificate", "release-ticketd")(r)["dnsNames"]), set()),
        ("URI names are told", lambda r: spec("Certificate", "release-ticketd")(r)["uris"], ["spiffe://corp.example/ns/crm/sa/ticketd"]),
        ("the caller has its SPIFFE ID", lambda r: spec("Certificate", "release-ticketd-sample-client")(r)["uris"], ["spiffe://corp.example/ns/crm/sa/sync"]),
        ("the issuer is told", lambda r: spec("Certificate", "release-ticketd")(r)["issuerRef"], {"name": "internal", "kind": "ClusterIssuer", "group": "cert-manager.io"}),
        ("its Secret is mounted", lambda r: r.volumes["tls"]["secret"]["secretName"], "release-ticketd-tls"),
        ("the tests are four", lambda r: [one["metadata"]["name"].removeprefix("release-ticketd-test-") for one in r.all("Pod")], ["ready", "tls", "ticket", "denied"]),
        ("the tests use the caller's certificate", lambda r: r.one("Pod", "release-ticketd-test-tls")["spec"]["volumes"][0]["secret"]["secretName"], "release-ticketd-sample-client"),
        ("a denied call is expected to be", lambda r: "CALLER_NOT_AUTHORIZED" in r.one("Pod", "release-ticketd-test-denied")["spec"]["containers"][0]["args"], True),
    ]),
    ("network-policy", {}, {}, [
        ("both directions are closed", lambda r: spec("NetworkPolicy")(r)["policyTypes"], ["Ingress", "Egress"]),
        ("it is the pods'", lambda r: spec("NetworkPolicy")(r)["podSelector"]["matchLabels"] == r.workload["spec"]["selector"]["matchLabels"], True),
        ("callers come from their namespaces", ingress_from("grpc"), [namespace("sync"), TEST_PODS]),
        ("browsers come by the ingress controller", ingress_from("http"), [namespace("ingress-nginx")]),
        ("Prometheus comes from its namespace", ingress_from("metrics"), [namespace("monitoring")]),
        ("kubelets come from the nodes", ingress_from("health"), [{"ipBlock": {"cidr": "10.1.0.0/16"}}, TEST_PODS]),
        ("names are looked up at the cluster's DNS", lambda r: egress_to(53)(r)[0]["podSelector"], {"matchLabels": {"k8s-app": "kube-dns"}}),
        ("SuperOffice is not in a private network", lambda r: "10.0.0.0/8" in egress_to(443)(r)[0]["ipBlock"]["except"], True),
        ("nor are the nodes' metadata", lambda r: "169.254.0.0/16" in egress_to(443)(r)[0]["ipBlock"]["except"], True),
        ("the pooler's and the database's ports are open", lambda r: [egress_to(6432)(r), egress_to(5432)(r)], [[namespace("databases")]] * 2),
        ("the API server can be asked", egress_to(6443), [{"ipBlock": {"cidr": "10.1.0.10/32"}}]),
        ("the collector can be told", egress_to(4317), "everybody"),
        ("more rules can be added", egress_to(3128), "everybody"),
    ]),
    ("network-policy", {"networkPolicy.monitoring": [], "networkPolicy.pages": [], "metrics.monitor.enabled": True,
                        "networkPolicy.extraIngress": [{"from": [namespace("mesh")], "ports": [{"port": "http"}, {"port": "metrics"}]}]}, {}, [
        ("who is let in by other rules is enough", lambda r: [ingress_from("metrics")(r), ingress_from("http")(r)], [[namespace("mesh")]] * 2),
    ]),
    ("network-policy", {"config.identity.jwks_url": "https://keys.example:8443/jwks"}, {}, [
        ("callers' keys may be read where they are", egress_to(8443), "everybody"),
        ("the API server is not asked then", egress_to(6443), None),
    ]),
    ("network-policy", {"config.identity.jwks_url": "https://keys.example:8443/jwks", "networkPolicy.identity": [namespace("keys")]}, {}, [
        ("which may be told", egress_to(8443), [namespace("keys")]),
    ]),
    ("network-policy", {"networkPolicy.dnsPorts": [1053]}, {}, [
        ("names may be looked up at other ports", lambda r: (egress_to(53)(r), egress_to(1053)(r)[0]["podSelector"]), (None, {"matchLabels": {"k8s-app": "kube-dns"}})),
    ]),
    ("network-policy", {}, {"apis": ("security.openshift.io/v1",)}, [
        ("OpenShift's DNS is behind another port", lambda r: spec("NetworkPolicy")(r)["egress"][0]["ports"],
         [{"port": port, "protocol": protocol} for port in (53, 5353) for protocol in ("UDP", "TCP")]),
    ]),
    ("cilium", {"openshift.adaptSecurityContext": "force"}, {}, [
        ("to Cilium as well", lambda r: [one["port"] for one in spec("CiliumNetworkPolicy")(r)["egress"][0]["toPorts"][0]["ports"]], ["53", "5353"]),
    ]),
    ("cilium", {}, {}, [
        ("SuperOffice is known by name", lambda r: spec("CiliumNetworkPolicy")(r)["egress"][1]["toFQDNs"], [{"matchPattern": "*.superoffice.com"}, {"matchName": "login.example.com"}]),
        ("not by address as well", lambda r: spec("NetworkPolicy")(r)["egress"], []),
        ("look-ups pass Cilium's proxy", lambda r: spec("CiliumNetworkPolicy")(r)["egress"][0]["toPorts"][0]["rules"], {"dns": [{"matchPattern": "*"}]}),
    ]),
    ("openshift", {}, {}, [
        ("the platform can be made to choose the user", lambda r: {"runAsUser", "runAsGroup", "fsGroup"} & set(r.pod["securityContext"]), set()),
        ("tests' pods leave it the choice too", lambda r: {"runAsUser", "runAsGroup", "fsGroup"} & set(r.one("Pod")["spec"]["securityContext"]), set()),
        ("a mirror stands before the repository", lambda r: r.container["image"], "registry.example.com:5000/crm/ticketd:0.1.0"),
        ("a parent's pull secrets count", lambda r: r.pod["imagePullSecrets"], [{"name": "mirror"}]),
    ]),
    ("monitoring", {}, {}, [
        ("a ServiceMonitor goes by the headless Service", lambda r: spec("ServiceMonitor")(r)["selector"]["matchLabels"].items() <= r.one("Service", "release-ticketd")["metadata"]["labels"].items(), True),
        ("and by no other", lambda r: spec("ServiceMonitor")(r)["selector"]["matchLabels"].items() <= r.one("Service", "release-ticketd-clusterip")["metadata"]["labels"].items(), False),
        ("Prometheus finds it by its labels", lambda r: r.one("ServiceMonitor")["metadata"]["labels"]["release"], "prometheus"),
        ("series can lose labels", lambda r: spec("ServiceMonitor")(r)["endpoints"][0]["metricRelabelings"], [{"action": "labeldrop", "regex": "pod"}]),
        ("every alert points at its page", lambda r: {rule["annotations"]["runbook_url"] == f"https://runbooks.example.com/ticketd/{rule['alert']}.md" for rule in alerts(r)}, {True}),
        ("every alert is about the release's series alone", lambda r: {selects_only(rule["expr"], 'namespace="crm",job="release-ticketd"') for rule in alerts(r)}, {True}),
        ("and carries their labels", lambda r: {(rule["labels"]["namespace"], rule["labels"]["job"]) for rule in alerts(r)}, {("crm", "release-ticketd")}),
        ("restarts are those of the release's pods", lambda r: pod_patterns(r), {"release-ticketd-[0-9]+"}),
        ("Prometheus finds the rules by their labels", lambda r: r.one("PrometheusRule")["metadata"]["labels"]["release"], "prometheus"),
        ("Grafana finds the dashboard", lambda r: r.one("ConfigMap", "release-ticketd-dashboard")["metadata"]["labels"]["grafana_dashboard"], "1"),
        ("which is a dashboard", lambda r: json.loads(r.one("ConfigMap", "release-ticketd-dashboard")["data"]["ticketd.json"])["title"], "ticketd"),
    ]),
    ("monitoring", PG | {"metrics.monitor.kind": "PodMonitor"}, {}, [
        ("a Deployment's pods are named otherwise", lambda r: [bool(re.fullmatch(pattern, "release-ticketd-" + end)) for pattern in pod_patterns(r)
          for end in ("6d4cf56db6-x7k2p", "two-6d4cf56db6-x7k2p", "two-0")], [True, False, False]),
        ("a PodMonitor's job has its namespace", lambda r: {rule["labels"]["job"] for rule in alerts(r)}, {"crm/release-ticketd"}),
    ]),
    ("monitoring", {"metrics.monitor.enabled": False, "metrics.rules.job": "tickets"}, {}, [
        ("who scrapes otherwise says which job", lambda r: {rule["labels"]["job"] for rule in alerts(r)}, {"tickets"}),
        ("which every selector has", lambda r: {selects_only(rule["expr"], 'namespace="crm",job="tickets"') for rule in alerts(r)}, {True}),
    ]),
    ("development", {}, {}, [
        ("inline secrets become a Secret", lambda r: sorted(r.one("Secret")["stringData"]), ["client-secret", "private-key.xml", "sealing-key"]),
        ("which is mounted", lambda r: list(sources(r)), ["release-ticketd-inline"]),
        ("what is read anew has no checksum", lambda r: [key for key in r.template["metadata"]["annotations"] if "checksum" in key], ["checksum/config"]),
    ]),
    ("pages", {}, {}, [
        ("the Ingress is for the public host", lambda r: spec("Ingress")(r)["rules"][0]["host"], "tickets.example.com"),
        ("the Ingress leads to the pages alone", lambda r: spec("Ingress")(r)["rules"][0]["http"]["paths"][0]["backend"]["service"], {"name": "release-ticketd-http", "port": {"name": "http"}}),
        ("the Ingress has TLS", lambda r: spec("Ingress")(r)["tls"], [{"hosts": ["tickets.example.com"], "secretName": "tickets-example-com"}]),
        ("the Ingress has its class", lambda r: spec("Ingress")(r)["ingressClassName"], "nginx"),
    ]),
    ("extras", {}, {}, [
        ("environment is added", lambda r: [one["name"] for one in r.container["env"]], ["TICKETD_TELEMETRY_LOG_FILTER", "SSL_CERT_DIR"]),
        ("strings may be templates", lambda r: r.container["envFrom"][0]["configMapRef"]["name"], "release-environment"),
        ("containers may run before", lambda r: [one["name"] for one in r.pod["initContainers"]], ["wait"]),
        ("containers may run beside", lambda r: [one["name"] for one in r.pod["containers"]], ["ticketd", "release-sync"]),
        ("objects may be added", lambda r: r.one("ConfigMap", "release-extra")["data"], {"who": "ticketd"}),
        ("labels may be everybody's", lambda r: {one["metadata"]["labels"]["example.com/team"] for one in r.manifests if one["metadata"]["name"] != "release-extra"}, {"crm"}),
        ("but not the selector's", lambda r: "example.com/team" in r.workload["spec"]["selector"]["matchLabels"], False),
        ("names may be looked up elsewhere", lambda r: (r.pod["dnsPolicy"], r.pod["dnsConfig"]["nameservers"], r.pod["hostAliases"][0]["ip"]), ("None", ["10.0.0.10"], "10.0.0.7")),
        ("another runtime and scheduler may run it", lambda r: (r.pod["runtimeClassName"], r.pod["schedulerName"]), ("gvisor", "careful")),
        ("each Service has its own annotations", lambda r: [one["metadata"]["annotations"] for one in r.all("Service")],
         [{"external-dns.alpha.kubernetes.io/hostname": "tickets.example.com"}, {"example.com/service": "release"}]),
        ("Services may have both families", lambda r: {one["spec"]["ipFamilyPolicy"] for one in r.all("Service")}, {"PreferDualStack"}),
        ("a probe's patience may be changed in part", lambda r: (r.container["livenessProbe"]["periodSeconds"], r.container["livenessProbe"]["timeoutSeconds"]), (20, 2)),
    ]),
    ("separate-secrets", {}, {}, [
        ("each Secret has its own keys", lambda r: sources(r), {
            "partner": {"secret": "client-secret"}, "partner-keys": {"private-key.xml": "signing-key-0"}, "sealing": {"sealing-key": "sealing-key-0"},
            "postgres-app": {"password": "database-password", "ca.crt": "database-ca.pem"}, "audit": {"hmac": "audit-key"}}),
        ("Secrets are always in the same order", lambda r: list(sources(r)), ["audit", "partner", "partner-keys", "postgres-app", "sealing"]),
        ("the certificate's keys are told", lambda r: r.volumes["tls"]["secret"]["items"], [{"key": "cert.pem", "path": "tls.crt"}, {"key": "key.pem", "path": "tls.key"}]),
        ("the audit's key is a file", lambda r: toml(r)["audit"]["hmac_key_file"], "/etc/ticketd/secrets/audit-key"),
        ("revocation lists are told", lambda r: toml(r)["tls"]["crl_files"], ["/etc/ticketd/bundles/corp.example.crl"]),
    ]),
    ("drain", {}, {}, [
        ("the kubelet may wait before SIGTERM", lambda r: r.container["lifecycle"]["preStop"], {"sleep": {"seconds": 10}}),
        ("the grace period has that as well", lambda r: r.pod["terminationGracePeriodSeconds"], 25),
        ("more pods may be away", lambda r: spec("PodDisruptionBudget")(r)["maxUnavailable"], 2),
        ("callers may stay near", lambda r: r.one("Service", "release-ticketd-clusterip")["spec"]["trafficDistribution"], "PreferClose"),
        ("spread may be told", lambda r: [(one["maxSkew"], one["minDomains"], one["matchLabelKeys"]) for one in r.pod["topologySpreadConstraints"]], [(2, 3, ["pod-template-hash"])]),
    ]),
    ("stopped", {}, {}, [
        ("it can be stopped", lambda r: r.workload["spec"]["replicas"], 0),
        ("without an admin port nothing has it", lambda r: ("admin" in toml(r), "metrics" in r.ports), (False, False)),
        ("without tests there are none", lambda r: "Pod" in r.kinds, False),
    ]),
    ("existing-claim", {}, {}, [
        ("null leaves fields to the platform", lambda r: {"runAsUser", "runAsGroup", "fsGroup"} & set(r.pod["securityContext"]), set()),
        ("IPv6's any is an address", lambda r: toml(r)["server"]["health_address"], "[::]:9000"),
    ]),
    ("tls", {}, {}, [
        ("callers may prove themselves by tokens", lambda r: toml(r)["tls"]["client_certificate"], "optional"),
        ("without a caller's certificate no test needs one", lambda r: [one["metadata"]["name"] for one in r.all("Pod")], ["release-ticketd-test-ready"]),
    ]),
    ("sidecar", {}, {}, [
        ("a caller beside it has the socket", lambda r: r.pod["containers"][1]["volumeMounts"][0], {"name": "socket", "mountPath": "/run/ticketd"}),
        ("a collector beside it has the audit", lambda r: r.pod["containers"][2]["volumeMounts"][0], {"name": "audit", "mountPath": "/audit"}),
        ("the audit's volume is limited", lambda r: r.volumes["audit"]["emptyDir"], {"sizeLimit": "1Gi"}),
    ]),
]

# What NOTES.txt has to say, and what not: (values of ci/, changes, pattern, whether it is there).
NOTES = [
    ("minimal", {}, r"1 replica on SQLite", True),
    ("minimal", {}, r"WARNING: on SQLite there is one pod", True),
    ("minimal", {}, r"WARNING: without TLS no other pod", True),
    ("minimal", {}, r"WARNING: no NetworkPolicy", True),
    ("minimal", {}, r"WARNING: the policy gives these callers tickets of every tenant: unixUser 65532", True),
    ("minimal", {"audit.output": "off"}, r"WARNING: audit.output is off", True),
    ("development", {}, r"WARNING: the secrets are in the release's values", True),
    ("ephemeral", {}, r"WARNING: without persistence", True),
    ("cert-manager", {}, r"WARNING: the policy gives", False),
    ("cert-manager", {}, r"grpcurl .*\n.*Cust12345", True),
    ("cert-manager", {}, r"2 replicas on PostgreSQL", True),
    ("autoscaling", {}, r"3 to 8 replicas on PostgreSQL", True),
    ("autoscaling", {}, r"SQLite", False),
    ("network-policy", {}, r"WARNING: no NetworkPolicy|networkPolicy.callers is empty", False),
    ("network-policy", {"networkPolicy.callers": []}, r"WARNING: networkPolicy.callers is empty", True),
    ("minimal", {"postgres.url": "postgres://ticketd@db/ticketd?sslmode=disable"}, r"WARNING: what goes to the database is neither", True),
    ("minimal", PG, r"WARNING: one replica", True),
]


def failures(helm: Helm) -> tuple[int, list[str]]:
    """How many assertions there are, and which of them do not hold."""
    groups = [{"values": with_values(value_set(base), changes), "options": options} for base, changes, options, _ in GROUPS]
    notes = [{"values": with_values(value_set(base), changes), "options": {"notes": True}} for base, changes, *_ in NOTES]
    helm.render_all(groups + notes)
    usual = checksum(helm.render(value_set("minimal")))
    count, found = len(NOTES), []
    for (base, _, _, assertions), group in zip(GROUPS, groups):
        rendering = helm.render(group["values"], **group["options"])
        for name, look, wanted in assertions:
            count += 1
            try:
                seen = look(rendering)
            except (KeyError, IndexError, TypeError, ValueError) as error:
                seen = error
            if wanted in ("as in minimal", "as in production"):
                wanted = checksum(helm.render(value_set(wanted.split()[-1])))
            if (seen == usual) if wanted == "not as in minimal" else (seen != wanted):
                found.append(f"{base}: {name}: {seen!r} instead of {wanted!r}")
    for (base, _, pattern, there), one in zip(NOTES, notes):
        text = helm.text(one["values"], notes=True).split("\nNOTES:\n")[1]
        if bool(re.search(pattern, text)) != there:
            found.append(f"{base}: NOTES.txt {'does not say' if there else 'says'} {pattern!r}")
    return count, found


def checksum(rendering: Rendering) -> str:
    return rendering.template["metadata"]["annotations"]["checksum/config"]
