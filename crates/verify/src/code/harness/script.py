# Runs a program that reads standard input and writes standard output.
import sys as _sys

_sys.argv = ["solution.py"] + _sys.argv[1:]
with open("solution.py", encoding="utf-8") as _file:
    _code = compile(_file.read(), "solution.py", "exec")
prepare(_code, globals())
exec(_code, globals())
