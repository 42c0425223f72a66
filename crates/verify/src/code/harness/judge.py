# Runs a problem's tests against a program that lives in another box. What the tests expect stays in this one; values cross
# as data, objects of the program's own stay there and are worked on from here.
import _ast, builtins, posix

RESULTS = open(3, "w", encoding="utf-8", closefd=False)
READER, WRITER = open(4, "rb", closefd=False), open(4, "wb", closefd=False)
CALLBACKS = {}
GONE = "the program ended before the tests did"


class ProgramEnded(BaseException):
    pass


def failure(name, message):
    """What the program raised, as an error of ours that is known as its."""
    error = own_error(name, message)
    error.theirs = True
    return error


def own_error(name, message):
    kind = getattr(builtins, str(name), None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(message)
        except TypeError:
            pass
    return RuntimeError("%s: %s" % (name, message))


def refer(value):
    if isinstance(value, Remote):
        return object.__getattribute__(value, "_number")
    key = "f%d" % len(CALLBACKS)
    CALLBACKS[key] = value
    return key


class Remote:
    """An object that lives with the program under test."""

    def __init__(self, number):
        object.__setattr__(self, "_number", number)

    def __getattr__(self, name):
        return ask("getattr", self, name)

    def __setattr__(self, name, value):
        ask("setattr", self, name, value)

    def __delattr__(self, name):
        ask("delattr", self, name)

    def __call__(self, *args, **kwargs):
        return ask("call", self, list(args), kwargs)

    def __getitem__(self, key):
        return ask("getitem", self, key)

    def __setitem__(self, key, value):
        ask("setitem", self, key, value)

    def __delitem__(self, key):
        ask("delitem", self, key)

    def __iter__(self):
        return iter(ask("list", self))

    def __next__(self):
        return ask("next", self)

    # Whether an object of the program's equals a value of the tests is not the program's to say.
    def __eq__(self, other):
        return isinstance(other, Remote) and (number(self) == number(other) or ask("eq", self, other) is True)

    def __ne__(self, other):
        return not self == other

    def __hash__(self):
        return hash(number(self))

    def __contains__(self, item):
        return any(item == own for own in self)

    # Nor does a value of the tests go over to be compared or computed with there.
    def _with(self, operation, other):
        if not isinstance(other, Remote):
            raise TypeError("the program returned an object of its own where a plain value is expected")
        return ask(operation, self, other)

    def __lt__(self, other):
        return self._with("lt", other)

    def __le__(self, other):
        return self._with("le", other)

    def __len__(self):
        return ask("len", self)

    def __bool__(self):
        return ask("bool", self)

    def __str__(self):
        return ask("str", self)

    def __repr__(self):
        return ask("repr", self)

    def __add__(self, other):
        return self._with("add", other)

    def __sub__(self, other):
        return self._with("sub", other)

    def __mul__(self, other):
        return self._with("mul", other)

    def __instancecheck__(self, instance):
        return isinstance(instance, Remote) and ask("isinstance", instance, self) is True


def number(remote):
    return object.__getattribute__(remote, "_number")


CODEC = Codec(refer, Remote)


def say(message):
    try:
        WRITER.write(dumps(message).encode() + b"\n")
        WRITER.flush()
    except OSError:
        raise ProgramEnded(GONE) from None


def hear():
    try:
        line = READER.readline()
    except OSError:
        line = b""
    if not line.endswith(b"\n"):
        raise ProgramEnded(GONE)
    reply = loads(line.decode())
    if type(reply) is not dict:
        raise ProgramEnded("the program wrote to the channel")
    return reply


def ask(operation, *args):
    say({"op": operation, "args": CODEC.pack(list(args))})
    while True:
        reply = hear()
        if "callback" in reply:
            try:
                say({"value": CODEC.pack(CALLBACKS[reply["callback"]](*CODEC.unpack(reply["args"])))})
            except Exception as error:
                say({"error": "%s: %s" % (type(error).__name__, error)})
            continue
        if "error" in reply:
            raise failure(reply["error"], reply.get("message", ""))
        if "args" in reply:
            changed(args[1], CODEC.unpack(reply["args"]))
        return CODEC.unpack(reply["value"])


def changed(ours, theirs):
    for mine, new in zip(ours, theirs):
        if type(mine) is list and type(new) is list:
            mine[:] = new
        elif type(mine) in (dict, set) and type(new) is type(mine):
            mine.clear()
            mine.update(new)


def free_names(tree, known):
    read, stored = [], set(known)
    # Grows as it is walked. (The module `ast` would do this too, but loading it takes as long as the tests.)
    nodes = [tree]
    for node in nodes:
        for field in node._fields:
            value = getattr(node, field, None)
            nodes.extend(part for part in (value if type(value) is list else [value]) if isinstance(part, _ast.AST))
        if isinstance(node, _ast.Name):
            read.append(node.id) if isinstance(node.ctx, _ast.Load) else stored.add(node.id)
        elif isinstance(node, (_ast.FunctionDef, _ast.ClassDef, _ast.AsyncFunctionDef)):
            stored.add(node.name)
        elif isinstance(node, _ast.arg):
            stored.add(node.arg)
        elif isinstance(node, _ast.alias):
            stored.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, _ast.ExceptHandler) and node.name:
            stored.add(node.name)
    return [name for name in dict.fromkeys(read) if name not in stored]


def run(space, source, where):
    tree = compile(source, where, "exec", _ast.PyCF_ONLY_AST)
    names = free_names(tree, space)
    own = [name for name in names if not hasattr(builtins, name)]
    for name in own:
        space[name] = ask("name", name)
    if not own and not space.get("candidate"):
        # Nothing in it is the program's, unless the program is about a name that Python has too, such as `sum`.
        for name in names:
            try:
                space[name] = ask("name", name)
            except NameError:
                pass
    exec(compile(tree, where, "exec"), space)


def main():
    with open("tests.json", encoding="utf-8") as file:
        spec = loads(file.read())
    passed, note, broken = 0, "", False
    steps = spec["steps"]
    try:
        loaded = hear()
        if "error" in loaded:
            raise failure(loaded["error"], loaded.get("message", ""))
        space = {"__name__": "tests"}
        if spec["prelude"]:
            # Helpers of the problem itself, which its tests use.
            try:
                exec(compile(spec["prelude"], "problem", "exec"), space)
            except Exception as error:
                broken, note = True, "the problem's own code fails: %s: %s" % (type(error).__name__, error)
                raise
        if spec["entry"]:
            space[spec["entry"]] = space["candidate"] = ask("name", spec["entry"])
        for step in steps:
            run(space, step, "tests")
            passed += 1
    except SyntaxError as error:
        note = note or "SyntaxError: %s" % error
        broken = broken or error.filename in ("tests", "problem")
    except ImportError as error:
        # What the tests import is no fault of the program's.
        broken = broken or not hasattr(error, "theirs")
        note = note or "%s: %s" % (type(error).__name__, error)
    except AssertionError as error:
        note = "a test is not met" + (": %s" % error if str(error) else "")
    except BaseException as error:
        note = note or "%s: %s" % (type(error).__name__, error)
    RESULTS.write(dumps({"passed": passed, "total": len(steps), "note": note[:500], "broken": broken}))
    RESULTS.flush()
    posix._exit(0)


main()
