"""setkey(8): scripts and options to PF_KEY messages, messages to text.

From a script to the kernel: `lexer` (tokens), `lalr` and `grammar.lark` (parsing with byacc's timing), `actions` (what
each part does as soon as it is read), `policy` (the text after -P), `statements` (to messages), `exchange` (one request
and its answers). Back again: `dump_sa`, `dump_policy`, `kdebug`, `json_output`, `monitor`. `kernel_door` is the only
module that reaches the kernel; nothing here knows the state file or Linux.
"""
