"""The Restricted Pod Security Standard, and Baseline below it, control by control:
https://kubernetes.io/docs/concepts/security/pod-security-standards/"""

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
BASELINE_CAPABILITIES = {
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID",
    "SETPCAP", "SETUID", "SYS_CHROOT",
}
SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
SECCOMP = {"RuntimeDefault", "Localhost"}


def pod_templates(manifest: dict) -> list[dict]:
    """The pods that an object is or makes."""
    spec = manifest.get("spec", {})
    return {
        "Pod": lambda: [spec],
        "Deployment": lambda: [spec["template"]["spec"]],
        "StatefulSet": lambda: [spec["template"]["spec"]],
        "DaemonSet": lambda: [spec["template"]["spec"]],
        "Job": lambda: [spec["template"]["spec"]],
        "CronJob": lambda: [spec["jobTemplate"]["spec"]["template"]["spec"]],
    }.get(manifest["kind"], list)()


def violations(pod: dict) -> list[str]:
    """What a namespace with `pod-security.kubernetes.io/enforce: restricted` would refuse."""
    found = [f"{field} is set" for field in ("hostNetwork", "hostPID", "hostIPC") if pod.get(field)]
    security = pod.get("securityContext", {})
    found += [f"volume {volume['name']}: kind" for volume in pod.get("volumes", []) if not set(volume) - {"name"} <= VOLUMES]
    found += [f"sysctl {one['name']}" for one in security.get("sysctls", []) if one["name"] not in SYSCTLS]
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod.get(kind, []):
            found += [f"{container['name']}: {problem}" for problem in container_violations(container, security)]
    found += [f"pod: {problem}" for problem in common_violations(security)]
    return found


def container_violations(container: dict, pod_security: dict) -> list[str]:
    security = container.get("securityContext", {})
    capabilities = security.get("capabilities", {})
    either = {**pod_security, **security}
    rules = {
        "privileged": not security.get("privileged"),
        "allowPrivilegeEscalation is not false": security.get("allowPrivilegeEscalation") is False,
        "capabilities are not dropped": "ALL" in capabilities.get("drop", []),
        "capabilities are added": set(capabilities.get("add", [])) <= BASELINE_CAPABILITIES & {"NET_BIND_SERVICE"},
        "may be root": either.get("runAsNonRoot") is True,
        "no seccomp profile": either.get("seccompProfile", {}).get("type") in SECCOMP,
        "host ports": not any(port.get("hostPort") for port in container.get("ports", [])),
        "procMount": security.get("procMount", "Default") == "Default",
        "a probe names a host": not any(
            "host" in probe.get(handler, {})
            for probe in (container.get(name, {}) for name in ("startupProbe", "livenessProbe", "readinessProbe"))
            for handler in ("httpGet", "tcpSocket")
        ),
    }
    return [problem for problem, holds in rules.items() if not holds] + common_violations(security)


def common_violations(security: dict) -> list[str]:
    selinux = security.get("seLinuxOptions", {})
    rules = {
        "runs as root": security.get("runAsUser") != 0,
        "runAsNonRoot is false": security.get("runAsNonRoot") is not False,
        "SELinux": selinux.get("type", "") in {"", "container_t", "container_init_t", "container_kvm_t"}
        and not selinux.get("user") and not selinux.get("role"),
        "unconfined AppArmor": security.get("appArmorProfile", {}).get("type") != "Unconfined",
        "unconfined seccomp": security.get("seccompProfile", {}).get("type", "RuntimeDefault") in SECCOMP,
        "a Windows host process": not security.get("windowsOptions", {}).get("hostProcess"),
    }
    return [problem for problem, holds in rules.items() if not holds]
