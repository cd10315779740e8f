"""The part of the Kubernetes API that kubectl needs for a deploy. It stores objects, and runs no containers.

Images with a word of `TROUBLE` in their name fail as they would in a real cluster; all others start.
"""

from __future__ import annotations

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

TROUBLE = {"unready", "unmigrated", "unpullable"}
LAST = "kubectl.kubernetes.io/last-applied-configuration"
KINDS = {
    "v1": "Namespace ConfigMap Secret Service PersistentVolumeClaim Pod",
    "apps/v1": "Deployment",
    "autoscaling/v2": "HorizontalPodAutoscaler",
    "batch/v1": "CronJob Job",
    "networking.k8s.io/v1": "Ingress NetworkPolicy",
    "policy/v1": "PodDisruptionBudget",
}
ADDRESSES = {version: f"apis/{version}" if "/" in version else f"api/{version}" for version in KINDS}
Object = dict[str, Any]


def plural(kind: str) -> str:
    """Return a kind's plural, as URLs spell it."""
    return re.sub("ys$", "ies", re.sub("sss$", "sses", kind.lower() + "s"))


def trouble(manifest: Object) -> str:
    """Return the word of TROUBLE in the image of a manifest's pods, or ""."""
    image = manifest["spec"]["template"]["spec"]["containers"][0]["image"]
    return next((word for word in TROUBLE if word in image), "")


class Cluster:
    """A simulated API server on a port of this machine."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}  #: address -> object
        self.log: list[str] = []  #: writes in order, such as "POST Job/migrate"
        self.refuses = ""  #: a kind that it rejects
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                cluster.answer(self, None)

            def do_DELETE(self) -> None:
                cluster.answer(self, self.body())

            def do_POST(self) -> None:
                cluster.answer(self, self.body())

            do_PATCH = do_POST  # noqa: N815

            def body(self) -> Any:
                return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig for this server only, and return its path."""
        here = {"server": f"http://127.0.0.1:{self.server.server_port}"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": here}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "users": [{"name": "test", "user": {}}],
            "current-context": "test",
        }
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    def stop(self) -> None:
        """Stop the server."""
        self.server.shutdown()
        self.server.server_close()

    def get(self, kind: str, name: str) -> Object | None:
        """Return an object from any namespace, or None."""
        found = [each for each in self.of(kind) if each["metadata"]["name"] == name]
        return found[0] if found else None

    def of(self, kind: str) -> list[Object]:
        """Return all objects of a kind."""
        return [each for each in self.objects.values() if each["kind"] == kind]

    def image(self, deployment: str) -> str:
        """Return the image in a Deployment's current manifest, or ""."""
        found = self.get("Deployment", deployment)
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"]) if found else ""

    # --- the protocol ---

    def answer(self, request: BaseHTTPRequestHandler, body: Any) -> None:
        """Answer one request."""
        address = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if query.get("watch"):
            self.watch(request, query)
            return
        if address.path.endswith("/exec"):  # there is no container to run it in
            self.log.append(f"EXEC {' '.join(parse_qs(address.query)['command'])}")
            status, answer = failure(400, "BadRequest")
        else:
            status, answer = self.discover(address.path) or self.handle(request.command, address.path, query, body)
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        request.send_response(status)
        request.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def watch(self, request: BaseHTTPRequestHandler, query: dict[str, str]) -> None:
        """Hold a watch open without events; reject one for initial events, so that kubectl lists objects instead."""
        unsupported = "sendInitialEvents" in query
        request.close_connection = True
        request.send_response(422 if unsupported else 200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Connection", "close")
        request.end_headers()
        if not unsupported:
            time.sleep(2)  # kubectl takes a watch that ends at once for a fault

    def discover(self, path: str) -> tuple[int, Any] | None:
        """Answer a discovery request; None if the path is of another kind."""
        groups = [version.split("/") for version in KINDS if "/" in version]
        if path == "/version":
            return 200, {"major": "1", "minor": "36", "gitVersion": "v1.36.0"}
        if path == "/api":
            return 200, {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            listed = []
            for group, version in groups:
                preferred = {"groupVersion": f"{group}/{version}", "version": version}
                listed.append({"name": group, "versions": [preferred], "preferredVersion": preferred})
            return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
        version = re.sub("^/apis?/", "", path)
        if version in KINDS:
            verbs = ["get", "list", "create", "patch", "delete", "watch"]
            resources = [
                {"name": plural(kind), "kind": kind, "namespaced": kind != "Namespace", "verbs": verbs}
                for kind in KINDS[version].split()
            ]
            if version == "apps/v1":
                scale = {"kind": "Scale", "group": "autoscaling", "version": "v1"}
                resources.append({"name": "deployments/scale", "namespaced": True, "verbs": verbs, **scale})
            return 200, {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": version,
                "resources": resources,
            }
        if path == "/openapi/v3":
            return 200, {
                "paths": {address: {"serverRelativeURL": f"/openapi/v3/{address}"} for address in ADDRESSES.values()}
            }
        version = next((each for each, address in ADDRESSES.items() if path == f"/openapi/v3/{address}"), "")
        return (200, validation(version)) if version else None

    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Read or write objects."""
        if path.endswith("/log"):
            return 200, "what the container said\n"
        if method == "POST":
            body["metadata"].setdefault("uid", str(uuid4()))
            if space := re.search("/namespaces/([^/]+)/", path):
                body["metadata"].setdefault("namespace", space[1])
            return self.keep(method, f"{path}/{body['metadata']['name']}", body)
        found = self.objects.get(path.removesuffix("/scale"))
        if path.endswith("/scale") and found:
            found["spec"]["replicas"] = body["spec"]["replicas"]
            self.log.append(f"SCALE {found['metadata']['name']} {body['spec']['replicas']}")
            metadata = {name: found["metadata"][name] for name in ("name", "namespace")}
            return 200, {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": body["spec"]}
        if method == "PATCH" and found:
            last = body.get("metadata", {}).get("annotations", {}).get(LAST)
            if not last:
                return 200, found
            # No merge needed: the annotation holds the whole manifest that kubectl was given.
            changed = json.loads(last)
            if "replicas" in found.get(
                "spec", {}
            ):  # what `kubectl scale` has set stays, unless the manifest says otherwise
                changed["spec"].setdefault("replicas", found["spec"]["replicas"])
            changed["metadata"] |= {"uid": found["metadata"]["uid"], "annotations": {LAST: last}}
            return self.keep(method, path, changed)
        if method == "DELETE" and found:
            self.log.append(f"DELETE {found['kind']}/{found['metadata']['name']}")
            for each in [
                path,
                *(key for key, value in self.objects.items() if owner(value) == found["metadata"]["uid"]),
            ]:
                del self.objects[each]
            return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        if found:
            return 200, found
        version = re.sub(r"^/apis?/|/(namespaces/[^/]+/)?[^/]+$", "", path)
        kind = next((each for each in KINDS.get(version, "").split() if path.endswith(f"/{plural(each)}")), "")
        if kind and method == "GET":
            items = [each for key, each in self.objects.items() if key.startswith(f"{path}/")]
            return 200, {
                "kind": f"{kind}List",
                "apiVersion": version,
                "metadata": {"resourceVersion": "1"},
                "items": [each for each in items if matches(each, query)],
            }
        return failure(404, "NotFound")

    def keep(self, method: str, path: str, manifest: Object) -> tuple[int, Object]:
        """Store an object, and do what the cluster's controllers would do."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        if kind == self.refuses:
            return failure(403, "Forbidden")
        manifest["metadata"].setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        self.log.append(f"{method} {kind}/{name}")
        self.objects[path] = manifest
        if kind == "Job":
            self.run(path, manifest)
        if kind == "Deployment":
            self.roll_out(path, manifest)
        return 201 if method == "POST" else 200, manifest

    def run(self, path: str, job: Object) -> None:
        """Finish a Job, or leave its pod waiting for its image."""
        wrong = trouble(job)
        job["spec"]["selector"] = {"matchLabels": job["spec"]["template"]["metadata"]["labels"]}
        ended = {"type": "Failed" if wrong == "unmigrated" else "Complete", "status": "True"}
        job["status"] = {"active": 1} if wrong == "unpullable" else {"conditions": [ended]}
        waiting = {"waiting": {"reason": "ImagePullBackOff"}} if wrong == "unpullable" else {}
        self.pod(path.rpartition("/jobs/")[0].replace("/apis/batch/v1", "/api/v1"), job, waiting)

    def roll_out(self, path: str, deployment: Object) -> None:
        """Make a Deployment ready, or exceed its progress deadline."""
        late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
        ready = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
        deployment["status"] = {"replicas": 2, "conditions": [late]} if trouble(deployment) else ready
        self.pod(path.rpartition("/deployments/")[0].replace("/apis/apps/v1", "/api/v1"), deployment, {})

    def pod(self, folder: str, of: Object, state: Object) -> None:
        """Create the pod of a Job or Deployment."""
        name = f"{of['metadata']['name']}-pod"
        template = of["spec"]["template"]
        self.objects[f"{folder}/pods/{name}"] = {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {
                **template["metadata"],
                "name": name,
                "namespace": of["metadata"]["namespace"],
                "uid": str(uuid4()),
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [{"uid": of["metadata"]["uid"], "kind": of["kind"], "name": of["metadata"]["name"]}],
            },
            "spec": template["spec"],
            "status": {"containerStatuses": [{"name": "app", "state": state}]},
        }


def validation(version: str) -> Object:
    """Return a schema that promises server-side field validation, so that kubectl does not validate on its own."""
    group, _, number = version.rpartition("/")
    paths = {}
    for kind in KINDS[version].split():
        what = {"group": group, "version": number, "kind": kind}
        patch = {"parameters": [{"name": "fieldValidation", "in": "query"}], "x-kubernetes-group-version-kind": what}
        paths[f"/{ADDRESSES[version]}/{plural(kind)}/{{name}}"] = {"patch": patch}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "1"}, "paths": paths}


def owner(manifest: Object) -> str:
    """Return the uid of an object's first owner, or ""."""
    return str(next((each["uid"] for each in manifest["metadata"].get("ownerReferences", [])), ""))


def matches(manifest: Object, query: dict[str, str]) -> bool:
    """Return whether an object matches the query's label selector and name."""
    labels = manifest["metadata"].get("labels", {})
    selector = query.get("labelSelector", "")
    name = query.get("fieldSelector", "").removeprefix("metadata.name=")
    wanted = re.findall(r"([\w./-]+)(?:=([\w-]+)| in \(([\w,-]+)\))", selector)
    chosen = all(labels.get(key) in (value or values).split(",") for key, value, values in wanted)
    return chosen and name in {"", manifest["metadata"]["name"]}


def failure(status: int, reason: str) -> tuple[int, Object]:
    """Return an error in the API's format."""
    return status, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": status}
