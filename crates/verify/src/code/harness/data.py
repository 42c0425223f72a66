# JSON text by the interpreter's own C functions: the package around them takes longer to load than a small program runs.
import sys

sys.set_int_max_str_digits(0) if hasattr(sys, "set_int_max_str_digits") else None


class Reading:
    strict, object_hook, object_pairs_hook, parse_float, parse_int, memo = True, None, None, float, int, {}
    parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.__getitem__


def refuse(value):
    raise TypeError("a %s is no data" % type(value).__name__)


try:
    from _json import encode_basestring_ascii, make_encoder, make_scanner

    scan = make_scanner(Reading)

    def loads(text):
        try:
            value, end = scan(text, 0)
        except StopIteration:
            raise ValueError("no JSON") from None
        if text[end:].strip():
            raise ValueError("more than one value")
        return value

    def dumps(value, default=refuse):
        return "".join(make_encoder({}, default, encode_basestring_ascii, None, ": ", ", ", False, False, True)(value, 0))

    if loads(dumps([1, -0.5, "\u00e9", {"a": [None, True]}])) != [1, -0.5, "\u00e9", {"a": [None, True]}]:
        raise ImportError("_json")
except Exception:
    # They are no public interface, so another interpreter may lack them or want other arguments.
    from json import dumps, loads
