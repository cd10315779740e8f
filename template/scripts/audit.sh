#!/bin/sh
# audit.sh IMAGE: list the licences of what it holds, and the known vulnerabilities that have a fix; fail if one of them is
# high or critical. Only the database of vulnerabilities comes from the network: it is kept for the next time.
set -eu
cd "$(dirname "$0")/.."
: "${SCANNER:=anchore/grype:v0.120.0@sha256:5c88961f4130e830542d441c7ed6c78baa28e799163abac53d2be4923fb5ab7d}"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/grype
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT

docker run --rm --network none --entrypoint python "$1" -c '
import re, sys, sysconfig
from importlib.metadata import distributions
from pathlib import Path
here = [*sys.path, sysconfig.get_path("purelib", vars={"base": sys.base_prefix})]
found = set()
for each in distributions(path=here):
    kinds = [kind.rpartition(" :: ")[2] for kind in each.metadata.get_all("Classifier", []) if kind.startswith("License ::")]
    said = each.metadata.get("License-Expression") or ", ".join(kinds) or each.metadata.get("License", "unknown").splitlines()[0]
    found.add(f"python  {each.name} {each.version}: {said}")
status = Path("/var/lib/dpkg")
for file in [*status.glob("status"), *status.glob("status.d/*")]:
    for name, version in re.findall(r"(?ms)^Package: (\S+)$.*?^Version: (\S+)$", file.read_text()):
        about = Path("/usr/share/doc", name, "copyright")
        kinds = re.findall(r"(?m)^License: (.+)$", about.read_text(errors="replace")) if about.exists() else []
        found.add(f"debian  {name} {version}: {", ".join(dict.fromkeys(kinds)) or f"see {about}"}")
print(*sorted(found, key=str.lower), sep="\n")'

docker save "$1" > "$folder/image.tar"
mkdir -p "$cache"
# The scanner gets a copy of the image, and this folder with .grype.yaml, but no token and no Docker socket.
docker run --rm --user "$(id -u):$(id -g)" --cap-drop ALL --read-only --tmpfs /tmp \
    --env GRYPE_DB_CACHE_DIR=/cache --env GRYPE_DB_AUTO_UPDATE --env GRYPE_DB_VALIDATE_AGE \
    --volume "$cache:/cache" --volume "$folder/image.tar:/image.tar:ro" --volume "$PWD:/src:ro" --workdir /src \
    "$SCANNER" docker-archive:/image.tar --only-fixed --fail-on high
