"""schemathesis, over the server's own /openapi.json: no fault of the server's, no answer that it does not declare."""
import os
import pathlib
import subprocess
import sys
import tempfile

from common import KEY, URL, check, done

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
]
# A longer run by hand: LATTICE_FUZZ_SECONDS=600 LATTICE_FUZZ_SEED=2.
seconds = os.environ.get("LATTICE_FUZZ_SECONDS", "25")
seed = os.environ.get("LATTICE_FUZZ_SEED", "1")
command = [
    pathlib.Path(sys.executable).with_name("schemathesis"), "run", f"{URL}/openapi.json",
    "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--max-time", seconds,
    "--seed", seed, "--no-shrink", "--suppress-health-check", "all", "--request-timeout", "60", "--warnings", "off",
    "--header", f"Authorization: Bearer {KEY}",
]  # fmt: skip
with tempfile.TemporaryDirectory() as folder:
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
lines = run.stdout.splitlines()
failed = run.returncode != 0
if failed:
    # What failed stands before the summary; all of it can be long.
    print("\n".join(lines[-80:])[-6000:])
check("every answer is declared, and none is a fault of the server's", not failed)
cases = [line.strip() for line in lines if "generated" in line]
print(*cases, end=": ")
done()
