"""The front ends, a folder each, and what they share: `bsdgetopt` and `hosttool`. None imports another."""
