#!/usr/bin/env bash
# Fills the corpora with the golden vectors: frames for `frame` and `node`, values for `record` and `envelope`, texts for `name` and
# `token`, files for `bundle`. `delta`, `snapshot` and `chain` read their input as choices and start from it too: any bytes are as good.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
python3 - <<'PY'
import hashlib, json, pathlib

def keep(target, data):
    folder = pathlib.Path("corpus", target)
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath(hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)

for path in sorted(pathlib.Path("../../proto/vectors").glob("*.json")):
    for entry in json.loads(path.read_text()):
        if "bytes" in entry:
            data = bytes.fromhex(entry["bytes"])
            for target in ["frame"] if "kind" in entry else ["record", "envelope"]:
                keep(target, data)
            for target in ["delta", "snapshot", "node", "chain"]:
                keep(target, data[:400])
            if "kind" in entry and len(data) < 256:
                # Step 10 of `node`: the third party says these bytes, after it has greeted (step 12).
                keep("node", bytes([12, 0, 0, 0, 0, 0, 0, 0, 10, 0, len(data)]) + data)
        elif entry["rule"] == "bundle":
            keep("bundle", bytes.fromhex(entry["input"]))
        elif isinstance(entry["input"], str):
            for target in ["name", "token"]:
                keep(target, entry["input"].encode())
PY
du -sh corpus/*
