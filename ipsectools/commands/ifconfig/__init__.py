"""ifconfig(8): command lines become requests at the kernel's control door, interface dicts become status text.

`main` knows the command line, `words` the way from word to word, `status` the lines of an interface; what the words
and lines are is in one module per feature (`features` lists them), each of which registers its keywords, its address
family or its status lines with `registry`. `context` is the only module that calls the kernel. Nothing here knows the
state file or what the host is made of.
"""
