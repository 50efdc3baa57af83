"""Case files: what they hold, checked; every complaint names the file's field."""
import ipaddress
import json
from dataclasses import dataclass, field

CLUSTER_SCOPED = ("Namespace", "Node", "ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy")
PROTOCOLS = ("TCP", "UDP", "SCTP")
VERDICTS = ("allow", "deny", "any")
API_VERSIONS = {"Pod": "v1", "Namespace": "v1", "NetworkPolicy": "networking.k8s.io/v1",
                "ClusterNetworkPolicy": "policy.networking.k8s.io/v1alpha2"}


class CaseError(Exception):
    """A case file that cannot be taken: the field, and what is wrong with it."""

    def __init__(self, where, what):
        super().__init__(f"{where}: {what}" if where else what)


@dataclass(frozen=True)
class Probe:
    """A port that is tried: "80/TCP", "80/TCP/IPv6"."""
    text: str
    port: int
    protocol: str
    family: int  # 4, 6; 0: the first that both ends have


@dataclass
class Host:
    """An end of connections: a pod, or a host that is none."""
    kind: str  # pod, external, node
    ips: tuple = ()
    labels: dict = field(default_factory=dict)
    ports: list = field(default_factory=list)


@dataclass
class Cell:
    probe: Probe
    source: str
    target: str
    expected: str


@dataclass
class Step:
    delete: list  # (kind, namespace, name)
    apply: list
    cells: list


@dataclass
class Case:
    path: str
    name: str
    namespaces: dict
    hosts: dict
    steps: list

    def head_key(self):
        """Cases with equal keys need the same interfaces."""
        return tuple(sorted((name, host.kind, host.ips) for name, host in self.hosts.items()))

    def addresses(self):
        found = {ip for host in self.hosts.values() for ip in host.ips}
        for step in self.steps:
            for o in step.apply:
                if o["kind"] == "Pod":
                    found.update(pod_addresses(o, ""))
        return found


def need(value, kind, where):
    names = {dict: "an object", list: "a list", str: "a string", int: "a number"}
    if not isinstance(value, kind) or isinstance(value, bool):
        raise CaseError(where, f"expected {names[kind]}, not {json.dumps(value)[:60]}")
    return value


def get(value, key, kind, where, default):
    """A field of an object; null counts as absent."""
    found = value.get(key)
    return default if found is None else need(found, kind, f"{where}.{key}" if where else key)


def parse_probe(text, where):
    words = need(text, str, where).split("/")
    port = int(words[0]) if words[0].isdigit() else 0
    family = {"IPv4": 4, "IPv6": 6}.get(words[2], -1) if len(words) == 3 else 0
    if not 2 <= len(words) <= 3 or not 0 < port < 65536 or words[1] not in PROTOCOLS or family < 0:
        raise CaseError(where, f'expected PORT/PROTOCOL or PORT/PROTOCOL/FAMILY like "80/TCP" or "80/UDP/IPv6", not "{text}"')
    return Probe(text, port, words[1], family)


def parse_ip(text, where):
    try:
        return str(ipaddress.ip_address(need(text, str, where)))
    except ValueError:
        raise CaseError(where, f'"{text}" is not an IP address') from None


def parse_port(item, where):
    need(item, dict, where)
    port = need(item.get("port", item.get("containerPort")), int, f"{where}.port")
    if not 0 < port < 65536:
        raise CaseError(f"{where}.port", f"{port} is not a port")
    protocol = get(item, "protocol", str, where, "TCP")
    if protocol not in PROTOCOLS:
        raise CaseError(f"{where}.protocol", f'"{protocol}" is not a protocol')
    name = get(item, "name", str, where, "")
    return {**({"name": name} if name else {}), "containerPort": port, "protocol": protocol}


def parse_labels(value, where):
    return {k: need(v, str, f'{where}["{k}"]') for k, v in get(value, "labels", dict, where, {}).items()}


def parse_host(kind, value, where):
    need(value, dict, where)
    ips = get(value, "ips", list, where, [])
    if not ips and kind != "pod":
        raise CaseError(f"{where}.ips", "a host that is no pod needs an address")
    return Host(kind, tuple(parse_ip(ip, f"{where}.ips[{i}]") for i, ip in enumerate(ips)), parse_labels(value, where),
                [parse_port(p, f"{where}.ports[{i}]") for i, p in enumerate(get(value, "ports", list, where, []) if kind == "pod" else [])])


def in_host_network(pod):
    return bool((pod.get("spec") or {}).get("hostNetwork"))


def is_finished(pod):
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def pod_addresses(pod, where):
    status = get(pod, "status", dict, where, {})
    texts = [(status.get("podIP") or (status.get("hostIP") if in_host_network(pod) else None), "podIP")]
    texts += [(need(item, dict, f"{where}.status.podIPs[{i}]").get("ip"), f"podIPs[{i}].ip")
              for i, item in enumerate(get(status, "podIPs", list, f"{where}.status", []))]
    return tuple(dict.fromkeys(parse_ip(text, f"{where}.status.{name}") for text, name in texts if text))


def object_key(o):
    """(kind, namespace, name) of a Kubernetes object; the namespace is empty for kinds without."""
    metadata = o["metadata"]
    namespaced = o["kind"] not in CLUSTER_SCOPED
    return o["kind"], (metadata.get("namespace") or "default") if namespaced else "", metadata["name"]


def parse_object(o, where):
    need(o, dict, where)
    kind = need(o.get("kind"), str, f"{where}.kind")
    metadata = need(o.get("metadata"), dict, f"{where}.metadata")
    need(metadata.get("name"), str, f"{where}.metadata.name")
    if not o.get("apiVersion") and kind in API_VERSIONS:
        o = {**o, "apiVersion": API_VERSIONS[kind]}
    if kind == "Pod":
        pod_addresses(o, where)
        get(o, "spec", dict, where, {})
    return o


def parse_delete(item, where):
    need(item, dict, where)
    key = [need(item.get(k), str, f"{where}.{k}") for k in ("kind", "name")]
    namespaced = key[0] not in CLUSTER_SCOPED
    return key[0], get(item, "namespace", str, where, "default") if namespaced else "", key[1]


def follow(alive, step):
    """What `alive`, the names of all ends, becomes by a step."""
    for kind, namespace, name in step.delete:
        if kind == "Pod":
            alive.discard(f"{namespace}/{name}")
        elif kind == "Namespace":
            alive.difference_update({a for a in alive if a.startswith(f"{name}/")})
    for o in step.apply:
        kind, namespace, name = object_key(o)
        if kind == "Pod":
            alive.add(f"{namespace}/{name}")


def parse_cells(expect, alive, where):
    cells = []
    for text, rows in expect.items():
        here = f'{where}["{text}"]'
        probe = parse_probe(text, here)
        for source, row in need(rows, dict, here).items():
            for target, verdict in need(row, dict, f'{here}["{source}"]').items():
                at = f'{here}["{source}"]["{target}"]'
                if verdict not in VERDICTS:
                    raise CaseError(at, f"expected allow, deny or any, not {json.dumps(verdict)[:60]}")
                if verdict == "any":
                    continue
                for name in (source, target):
                    if name not in alive:
                        raise CaseError(at, f"there is no pod, external or node {name} in this step")
                cells.append(Cell(probe, source, target, verdict))
    return cells


def parse_steps(steps, alive, fixed):
    parsed = []
    for i, value in enumerate(steps):
        where = f"steps[{i}]"
        need(value, dict, where)
        step = Step([parse_delete(d, f"{where}.delete[{n}]") for n, d in enumerate(get(value, "delete", list, where, []))],
                    [parse_object(o, f"{where}.apply[{n}]") for n, o in enumerate(get(value, "apply", list, where, []))], [])
        follow(alive, step)
        step.cells = parse_cells(get(value, "expect", dict, where, {}), alive | fixed, f"{where}.expect")
        parsed.append(step)
    if not any(step.cells for step in parsed):
        raise CaseError("steps", "no step expects anything: the case could not fail")
    return parsed


def load(path):
    """The case in a file; CaseError with the field if it is no good."""
    try:
        with open(path, encoding="utf-8") as f:
            value = json.load(f)
    except (OSError, ValueError) as e:
        raise CaseError("", f"cannot be read: {e}") from None
    need(value, dict, "")
    hosts = {}
    for group, kind in (("pods", "pod"), ("externals", "external"), ("nodes", "node")):
        for name, host in get(value, group, dict, "", {}).items():
            where = f'{group}["{name}"]'
            if kind == "pod" and (name.count("/") != 1 or not all(name.split("/"))):
                raise CaseError(where, "expected a name like namespace/pod")
            if name in hosts:
                raise CaseError(where, "this name is taken")
            own = kind != "node" or name.endswith("local") or len(value["nodes"]) == 1
            hosts[name] = parse_host(kind if own else "external", host, where)  # other nodes are behind the uplink
    owners = {}
    for name, host in hosts.items():
        for ip in host.ips:
            if owners.setdefault(ip, name) != name:
                raise CaseError(name, f"{ip} is the address of {owners[ip]} too")
    namespaces = {n: parse_labels(need(ns, dict, f'namespaces["{n}"]'), f'namespaces["{n}"]')
                  for n, ns in get(value, "namespaces", dict, "", {}).items()}
    for i, text in enumerate(get(value, "probes", list, "", [])):
        parse_probe(text, f"probes[{i}]")
    pods = {n for n, h in hosts.items() if h.kind == "pod"}
    steps = parse_steps(need(value.get("steps"), list, "steps"), set(pods), set(hosts) - pods)
    return Case(path, need(value.get("name"), str, "name"), namespaces, hosts, steps)
