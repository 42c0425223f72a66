# Calls a function of the program with each list of arguments and writes what it returns to the private channel.
import posix

RESULTS = open(3, "w", encoding="utf-8", closefd=False)


def plain(value):
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "__iter__"):
        return list(value)
    raise TypeError("a %s is no value that tests can compare" % type(value).__name__)


def write(message):
    RESULTS.write(message + "\n")
    RESULTS.flush()


def failed(error):
    write(dumps({"error": "%s: %s" % (type(error).__name__, str(error)[:500])}))


def main():
    with open("calls.json", encoding="utf-8") as file:
        spec = loads(file.read())
    sys.argv = ["solution.py"]
    module = type(sys)("solution")
    sys.modules["solution"] = module
    try:
        with open("solution.py", encoding="utf-8") as file:
            code = compile(file.read(), "solution.py", "exec")
        prepare_like_a_judge(code, module.__dict__)
        exec(code, module.__dict__)
        name, space = spec["name"], module.__dict__
        owner = space.get("Solution")
        fresh = isinstance(owner, type) and hasattr(owner, name)
        if not fresh and name not in space:
            raise NameError("the program defines no `%s`" % name)
    except BaseException as error:
        failed(error)
        posix._exit(0)
    for args in spec["calls"]:
        try:
            function = getattr(owner(), name) if fresh else space[name]
            write('{"value":' + dumps(function(*args), default=plain) + "}")
        except BaseException as error:
            failed(error)
    posix._exit(0)


main()
