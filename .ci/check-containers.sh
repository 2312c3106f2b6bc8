#!/usr/bin/env bash
# Checks Dockerfile, docker-compose.yml and the shell scripts with what this machine has. A tool that is missing is named
# and skipped: none of them is needed to work on crm.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { printf 'check-containers: skipped: %s\n' "$*"; }
pass() { printf 'check-containers: ok: %s\n' "$*"; }

if docker compose version >/dev/null 2>&1; then
    docker compose --file docker-compose.yml config --quiet
    pass "docker-compose.yml (docker compose config)"
elif python3 -c 'import yaml' 2>/dev/null; then
    python3 - <<'PYTHON'
import yaml

with open("docker-compose.yml", encoding="utf-8") as file:
    compose = yaml.safe_load(file)
services = compose["services"]
assert {"postgres", "qdrant", "api"} <= services.keys(), "a service is missing"
for name, service in services.items():
    assert "healthcheck" in service, f"{name} has no health check"
    image = service.get("image")
    assert "build" in service or (image and ":" in image and not image.endswith(":latest")), f"{name}: pin the image"
    for volume in service.get("volumes", []):
        assert volume.split(":")[0] in compose["volumes"], f"{name}: {volume} is no named volume"
    for other, wait in service.get("depends_on", {}).items():
        assert other in services and wait == {"condition": "service_healthy"}, f"{name} does not wait for {other}"
PYTHON
    pass "docker-compose.yml (parsed only: no docker compose plugin)"
else
    skip "docker-compose.yml (neither the docker compose plugin nor PyYAML)"
fi

# A container has no Postgres of its own, and so no need of its programs.
passed=$(sed -nE 's/^      ([A-Z_]+): .*/\1/p' docker-compose.yml)
while read -r setting; do
    grep -qx "$setting" <<<"$passed" || { echo "check-containers: docker-compose.yml does not pass $setting" >&2; exit 1; }
done < <(sed -nE 's/^#?([A-Z_]+)=.*/\1/p' .env.example | grep -vx CRM_POSTGRES_BIN)
pass "docker-compose.yml passes every setting"

if command -v hadolint >/dev/null 2>&1; then
    hadolint Dockerfile
    pass "Dockerfile (hadolint)"
else
    skip "Dockerfile (no hadolint)"
fi

if command -v shellcheck >/dev/null 2>&1; then
    shellcheck .ci/run .ci/*.sh
    pass "shell scripts (shellcheck)"
else
    for script in .ci/run .ci/*.sh; do bash -n "$script"; done
    pass "shell scripts (syntax only: no shellcheck)"
fi
