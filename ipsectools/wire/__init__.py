"""Headers on the wire: bytes <-> small value objects. No SAs, no sockets, no time, no exceptions for any bytes.

Each format is one module with one class and `parse(data)`, which gives the object or None: there is one kind of parse
failure, and who needs to know more looks at the bytes. `emit` gives bytes back; numbers must fit their fields there.
Addresses are 4 or 16 bytes. Parsing never looks beyond the header: whether the payload is complete is for the caller to
see from the lengths, because captured and quoted packets are cut legitimately.
"""
