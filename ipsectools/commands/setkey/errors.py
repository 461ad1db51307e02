"""libipsec's error texts: what ipsec_strerror(3) says."""

from __future__ import annotations

NOT_SUPPORTED = "Not supported"
INVALID_ARGUMENT = "Invalid argument"
INVALID_MESSAGE = "Invalid sadb message"
INVALID_VERSION = "Invalid version"
INVALID_ADDRESS = "Invalid address specification"
INVALID_SATYPE = "Invalid SA type"
INVALID_MESSAGE_TYPE = "Invalid message type"
INVALID_EXTENSION_TYPE = "Invalid extension type"
INVALID_KEY_LENGTH = "Invalid key length"
INVALID_FAMILY = "Invalid address family"
INVALID_DIRECTION = "Invalid direction"
PROTOCOL_MISMATCH = "Protocol mismatch"
FAMILY_MISMATCH = "Family mismatch"
FEW_ARGUMENTS = "Too few arguments"
