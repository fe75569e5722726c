"""Swarms' servers with agents that do nothing, beside which a node is measured. Usage: agents_peer.py aop|aop-queue|deployer PORT AGENTS

`aop` and `aop-queue` need swarms 14.0.2, `deployer` 16.0.3: the last versions of AOP and of what came after it.
"""

import os
import sys

os.environ["SWARMS_TELEMETRY_ON"] = "false"
kind, port, many = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


class Idle:
    """What both read of an agent, and a run that returns at once."""

    max_loops = 1
    temperature = 0.5
    max_tokens = 4096
    role = "worker"
    model_name = "none"
    system_prompt = "You do nothing."
    tags = ["nothing"]
    capabilities = ["nothing"]

    def __init__(self, number):
        self.agent_name = self.name = f"agent_{number:04d}"
        self.agent_description = f"{self.name} does nothing"

    def run(self, task=None, *_, **__):
        return f"ok:{task}"


agents = [Idle(number) for number in range(many)]
if kind == "deployer":
    from swarms.structs.mcp_deployer import MCPDeployer

    server = MCPDeployer(agents, name="peer", host="127.0.0.1", port=port, allow_anonymous=True, show_banner=False)
    server.run(log_level="error")
else:
    from swarms.structs.aop import AOP

    AOP(server_name="peer", agents=agents, port=port, queue_enabled=kind == "aop-queue", log_level="ERROR").run()
