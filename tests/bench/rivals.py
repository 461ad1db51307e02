"""Other tunnels, as their distribution packages them, with their defaults and the nearest algorithm.

The set-up follows our earlier measuring scripts. Each runs on lab hosts with a private /run, so that two daemons do
not meet over sockets and pid files. strongSwan: kernel-libipsec plugin, UDP encapsulation; OpenVPN: point to point, TLS
with pinned certificates, no kernel offload; wireguard-go: `$WG_GO` names another binary.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.bench.peers import Peer
from tests.bench.scene import INNER, OUTER, Scene, wait_for

if TYPE_CHECKING:
    from pathlib import Path

CHARON = "/usr/lib/ipsec/charon"
WIREGUARD_GO = os.environ.get("WG_GO", "wireguard-go")

CHARON_CONFIGURATION = """
charon {{
    load_modular = yes
    install_virtual_ip = no
    filelog {{ log {{ path = {log}
        default = 1 }} }}
    syslog {{ daemon {{ default = -1
      }} auth {{ default = -1
      }} }}
    plugins {{
        include /etc/strongswan.d/charon/*.conf
        kernel-libipsec {{ load = yes
        }}
    }}
}}
"""

CONNECTION = """
connections {{ t {{
    version = 2
    local_addrs = {local}
    remote_addrs = {remote}
    encap = yes
    proposals = aes128-sha256-x25519
    rekey_time = 0
    local {{ auth = psk
        id = {local} }}
    remote {{ auth = psk
        id = {remote} }}
    children {{ c {{
        local_ts = {inner}/32
        remote_ts = {far}/32
        esp_proposals = {suite}
        rekey_time = 0
        mode = tunnel }} }}
}} }}
secrets {{ ike-t {{ secret = "bench-only-not-a-secret" }} }}
"""

OPENVPN_CONFIGURATION = """
dev ovpn0
dev-type tun
proto udp
local {local}
lport 1194
remote {remote} 1194
ifconfig {inner} {far}
{role}
cert {certificate}
key {key}
peer-fingerprint {fingerprint}
data-ciphers AES-128-GCM
disable-dco
reneg-sec 0
"""


def strongswan(name: str, suite: str, tests: tuple[str, ...]) -> Peer:
    """`suite` as in esp_proposals."""

    def up(scene: Scene) -> None:
        scene.address_loopback()
        environments = []
        for side in (0, 1):
            configuration = scene.directory / f"strongswan-{side}.conf"
            configuration.write_text(CHARON_CONFIGURATION.format(log=scene.directory / f"charon-{side}.txt"))
            environments.append({"STRONGSWAN_CONF": str(configuration)})
            scene.start(side, CHARON, environment=environments[side])
        for side, host in enumerate(scene.hosts):
            socket = host.path("/run/charon.vici")
            wait_for(lambda path=socket: os.path.exists(path), "charon")  # type: ignore[misc]
            connection = scene.directory / f"swanctl-{side}.conf"
            ends = {"local": OUTER[side], "remote": OUTER[1 - side], "inner": INNER[side], "far": INNER[1 - side]}
            connection.write_text(CONNECTION.format(suite=suite, **ends))
            host.run("swanctl", "--load-all", "--file", str(connection), environment=environments[side])
        scene.hosts[0].run("swanctl", "--initiate", "--child", "c", environment=environments[0])

    return Peer(name, f"strongSwan libipsec, {suite}", up, tests, ("swanctl", CHARON))


def openvpn(tests: tuple[str, ...]) -> Peer:
    def certificate(scene: Scene, side: int) -> tuple[Path, Path, str]:
        key, certificate = scene.directory / f"key-{side}.pem", scene.directory / f"certificate-{side}.pem"
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
        files = ("-keyout", str(key), "-out", str(certificate))
        host = scene.hosts[side]
        host.run("openssl", "req", "-x509", *curve, "-subj", f"/CN={side}", *files)
        said = host.run("openssl", "x509", "-in", str(certificate), "-noout", "-fingerprint", "-sha256").output
        return key, certificate, said.strip().split("=", 1)[1]

    def up(scene: Scene) -> None:
        made = [certificate(scene, side) for side in (0, 1)]
        for side in (0, 1):
            key, own, _ = made[side]
            configuration = scene.directory / f"openvpn-{side}.conf"
            configuration.write_text(
                OPENVPN_CONFIGURATION.format(
                    local=OUTER[side],
                    remote=OUTER[1 - side],
                    inner=INNER[side],
                    far=INNER[1 - side],
                    role="tls-client" if side == 0 else "tls-server\ndh none",
                    certificate=own,
                    key=key,
                    fingerprint=made[1 - side][2],
                )
            )
            scene.start(side, "openvpn", "--config", str(configuration))

    return Peer("openvpn", "OpenVPN, AES-128-GCM", up, tests, ("openvpn", "openssl"))


def wireguard_go(tests: tuple[str, ...], udp_segmentation: bool = True) -> Peer:
    def up(scene: Scene) -> None:
        keys = []
        for side, host in enumerate(scene.hosts):
            private = host.run("wg", "genkey").output
            path = scene.directory / f"wg-{side}"
            path.touch(mode=0o600)
            path.write_text(private)
            keys.append((str(path), host.run("wg", "pubkey", input=private).output.strip()))
        environment = {"LOG_LEVEL": "error", "WG_PROCESS_FOREGROUND": "1"}
        for side, host in enumerate(scene.hosts):
            scene.start(side, WIREGUARD_GO, "--foreground", "wg0", environment=environment)
            socket = host.path("/run/wireguard/wg0.sock")
            wait_for(lambda path=socket: os.path.exists(path), "wireguard-go")  # type: ignore[misc]
            peer = ("peer", keys[1 - side][1], "allowed-ips", INNER[1 - side] + "/32")
            end = ("endpoint", f"{OUTER[1 - side]}:51820")
            host.run("wg", "set", "wg0", "listen-port", "51820", "private-key", keys[side][0], *peer, *end)
        scene.address("wg0")

    name, title = "wireguard-go", "wireguard-go"
    if not udp_segmentation:
        name, title = name + "-nouso", title + ", cable without UDP GSO"
    return Peer(name, title, up, tests, (WIREGUARD_GO, "wg"), udp_segmentation)
