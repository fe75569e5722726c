#!/usr/bin/env bash
# Installs what the black-box tests talk to: real MCP servers and clients, pinned, under target/tools and nowhere else.
# Not a build step: the product needs none of it. A second run costs nothing, because a stamp names exactly this file's content.
# Packages are asked for by name with the machine's own npm, pip and apt-get, however those are configured.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=${AOP_TEST_TOOLS:-$root/target/tools}

# The machine's node may be older than the 22.19 that conformance and Inspector need: the npm package `node` brings the binary.
npm_packages=(
  node@22.23.3
  @modelcontextprotocol/server-everything@2026.8.31
  @modelcontextprotocol/server-filesystem@2026.8.31
  @modelcontextprotocol/server-memory@2026.8.31
  @modelcontextprotocol/server-sequential-thinking@2026.8.31
  @modelcontextprotocol/sdk@1.32.2
  @modelcontextprotocol/client@2.3.1
  @modelcontextprotocol/conformance@0.2.0-alpha.12
  @modelcontextprotocol/inspector@2.12.0
)

# Servers and clients that wish for the same `mcp` share an environment where that costs nothing; most wishes differ.
python_environments=(
  "mcp-server-time mcp-server-time==2026.10.19 mcp==2.3.0 tzdata"
  "mcp-server-git mcp-server-git==2026.10.19 mcp==2.3.0"
  "mcp1 mcp==1.30.0 mcp-server-sqlite==2025.4.25"
  "mcp2 mcp==2.3.0 mcp-server-fetch==2026.10.24"
  "fastmcp fastmcp==4.1.2"
)

say() { echo "install-tools: $*" >&2; }

# Each attempt is made twice: a registry that answers late the first time usually answers the second.
twice() { "$@" || { say "once more: $*"; "$@"; }; }

need_debian=()
command -v git >/dev/null || need_debian+=(git)
command -v npm >/dev/null || need_debian+=(nodejs npm)
command -v python3 >/dev/null || need_debian+=(python3)
python3 -c 'import ensurepip, venv' 2>/dev/null || need_debian+=(python3-venv)

if [ ${#need_debian[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing Debian packages: ${need_debian[*]}"
    twice apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need_debian[@]}" >&2
  else
    say "missing on this machine: ${need_debian[*]}"
    say "run as root: apt-get install ${need_debian[*]}"
    exit 1
  fi
fi

stamp=$(sha256sum < "${BASH_SOURCE[0]}" | cut -d' ' -f1)
if [ -f "$tools/stamp" ] && [ "$(cat "$tools/stamp")" = "$stamp" ]; then
  exit 0
fi

say "installing into $tools (once)"
# What a half-finished or older run left is not trusted.
rm -rf "$tools"
mkdir -p "$tools/npm" "$tools/py"

install_npm() {
  cd "$tools/npm"
  echo '{"name":"aop-test-tools","version":"0.0.0","private":true}' > package.json
  twice npm install --no-fund --no-audit --loglevel=error --save-exact "${npm_packages[@]}" >&2
  local node="$tools/npm/node_modules/node/bin/node"
  "$node" -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 22 || (a === 22 && b >= 19) ? 0 : 1)' || {
    say "the npm package node gave no Node.js of at least 22.19"
    exit 1
  }
}

install_python() {
  local line name packages
  for line in "${python_environments[@]}"; do
    name=${line%% *}
    packages=${line#* }
    python3 -m venv "$tools/py/$name"
    # shellcheck disable=SC2086  # the words of the line are the packages
    twice "$tools/py/$name/bin/python" -m pip install --quiet --disable-pip-version-check --no-input $packages >&2
  done
}

# The two registries do not wait for each other.
install_npm & npm_job=$!
install_python
wait "$npm_job"

echo "$stamp" > "$tools/stamp"
say "done"
