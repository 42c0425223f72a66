# Values as JSON text between two interpreters that do not trust each other: only data is ever rebuilt, never code.
# What is no plain value stays where it is and travels as a reference.


class Codec:
    def __init__(self, refer, resolve):
        self.refer, self.resolve = refer, resolve

    def pack(self, value):
        kind = type(value)
        if value is None or kind is bool or kind is int or kind is float or kind is str:
            return value
        if kind is list:
            return [self.pack(item) for item in value]
        for base, name, plain in PLAIN:
            if isinstance(value, base):
                return {"t": name, "v": plain(self, value)}
        if kind.__module__ == "numpy" and hasattr(kind, "tolist"):
            return self.pack(value.tolist())
        for name, (module, known, parts) in RICH.items():
            # A value of a kind whose module nobody has loaded cannot be there.
            if kind is getattr(sys.modules.get(module), known, None):
                return {"t": name, "v": [self.pack(part) for part in parts(value)]}
        return {"t": "ref", "v": self.refer(value)}

    def unpack(self, packed):
        if type(packed) is list:
            return [self.unpack(item) for item in packed]
        if type(packed) is not dict:
            return packed
        name, value = packed["t"], packed["v"]
        if name == "ref":
            return self.resolve(value)
        if name in REBUILD:
            return REBUILD[name](self, value)
        if name in RICH:
            module, known, _ = RICH[name]
            return getattr(__import__(module), known)(*[self.unpack(part) for part in value])
        raise ValueError("unknown kind of value " + repr(name))


# Subclasses travel as what they are based on: an `__eq__` of the program's own stays behind.
PLAIN = [
    (bool, "bool", lambda c, v: bool(v)),
    (int, "int", lambda c, v: int.__repr__(v)),
    (float, "float", lambda c, v: float.__repr__(v)),
    (complex, "complex", lambda c, v: [complex.__getattribute__(v, "real"), complex.__getattribute__(v, "imag")]),
    (str, "str", lambda c, v: str.__str__(v)),
    (bytes, "bytes", lambda c, v: bytes.hex(v)),
    (bytearray, "bytearray", lambda c, v: bytearray.hex(v)),
    (tuple, "tuple", lambda c, v: [c.pack(i) for i in tuple.__iter__(v)]),
    (list, "list", lambda c, v: [c.pack(i) for i in list.__iter__(v)]),
    (frozenset, "frozenset", lambda c, v: [c.pack(i) for i in frozenset.__iter__(v)]),
    (set, "set", lambda c, v: [c.pack(i) for i in set.__iter__(v)]),
    (dict, "dict", lambda c, v: [[c.pack(k), c.pack(i)] for k, i in dict.items(v)]),
    (range, "range", lambda c, v: [v.start, v.stop, v.step]),
]
REBUILD = {
    "bool": lambda c, v: bool(v),
    "int": lambda c, v: int(v),
    "float": lambda c, v: float(v),
    "complex": lambda c, v: complex(float(v[0]), float(v[1])),
    "str": lambda c, v: str(v),
    "bytes": lambda c, v: bytes.fromhex(v),
    "bytearray": lambda c, v: bytearray.fromhex(v),
    "tuple": lambda c, v: tuple(c.unpack(i) for i in v),
    "list": lambda c, v: [c.unpack(i) for i in v],
    "frozenset": lambda c, v: frozenset(c.unpack(i) for i in v),
    "set": lambda c, v: {c.unpack(i) for i in v},
    "dict": lambda c, v: {c.unpack(k): c.unpack(i) for k, i in v},
    "range": lambda c, v: range(int(v[0]), int(v[1]), int(v[2])),
}
# Value types of modules, which are loaded when a value of theirs is met: module, class, the parts that make a value anew.
RICH = {
    "decimal": ("decimal", "Decimal", lambda v: [str(v)]),
    "fraction": ("fractions", "Fraction", lambda v: [v.numerator, v.denominator]),
    "deque": ("collections", "deque", lambda v: [list(v)]),
    "date": ("datetime", "date", lambda v: [v.year, v.month, v.day]),
    "time": ("datetime", "time", lambda v: [v.hour, v.minute, v.second, v.microsecond]),
    "datetime": ("datetime", "datetime", lambda v: [v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond]),
    "timedelta": ("datetime", "timedelta", lambda v: [v.days, v.seconds, v.microseconds]),
}
