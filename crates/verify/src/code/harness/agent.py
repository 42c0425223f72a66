# Holds the program under test and does what the other box asks of it. It knows no expected value.
import posix

READER, WRITER = open(3, "rb", closefd=False), open(3, "wb", closefd=False)
OBJECTS = {}


def say(message):
    WRITER.write(dumps(message).encode() + b"\n")
    WRITER.flush()


def refer(value):
    OBJECTS[id(value)] = value
    return id(value)


def resolve(number):
    if isinstance(number, str):
        # A function of the tests': calling it asks the other side.
        def callback(*args):
            say({"callback": number, "args": CODEC.pack(list(args))})
            return serve(until_value=True)

        return callback
    return OBJECTS[number]


CODEC = Codec(refer, resolve)
OPERATIONS = {
    "getattr": getattr, "setattr": setattr, "delattr": delattr, "len": len, "str": str, "repr": repr, "bool": bool, "hash": hash,
    "getitem": lambda o, k: o[k], "setitem": lambda o, k, v: o.__setitem__(k, v), "delitem": lambda o, k: o.__delitem__(k),
    "list": list, "next": next, "eq": lambda a, b: bool(a == b), "lt": lambda a, b: bool(a < b), "le": lambda a, b: bool(a <= b),
    "isinstance": isinstance, "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
    "call": lambda f, args, kwargs: f(*args, **kwargs),
}


def answer(request):
    args = CODEC.unpack(request["args"])
    before = dumps(request["args"]) if request["op"] == "call" else None
    if request["op"] == "name":
        if args[0] not in MODULE.__dict__:
            raise NameError("name '%s' is not defined" % args[0])
        # A value that the program computed travels as data; functions and classes stay.
        return {"value": CODEC.pack(MODULE.__dict__[args[0]])}
    value = OPERATIONS[request["op"]](*args)
    reply = {"value": CODEC.pack(value)}
    if before is not None:
        after = CODEC.pack(args)
        # Functions that work in place change their arguments; the caller's copies must change too.
        if dumps(after) != before:
            reply["args"] = after[1]
    return reply


def serve(until_value=False):
    for line in READER:
        request = loads(line.decode())
        if until_value and "value" in request:
            return CODEC.unpack(request["value"])
        if until_value and "error" in request:
            raise RuntimeError(request["error"])
        try:
            reply = answer(request)
        except BaseException as error:
            reply = {"error": type(error).__name__, "message": str(error)[:500]}
        say(reply)
    posix._exit(0)


MODULE = type(sys)("solution")
sys.modules["solution"] = MODULE
sys.argv = ["solution.py"]
try:
    with open("solution.py", encoding="utf-8") as file:
        CODE = compile(file.read(), "solution.py", "exec")
    prepare(CODE, MODULE.__dict__)
    exec(CODE, MODULE.__dict__)
    LOADED = {"value": None}
except BaseException as error:
    line = getattr(error, "lineno", None)
    LOADED = {"error": type(error).__name__, "message": str(error)[:500]}
say(LOADED)
serve()
