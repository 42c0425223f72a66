# What a program may take for granted without saying so.
def prepare(code, space):
    import sys

    # `site` is not loaded, for speed; these are what programs miss of it.
    def leave(status=None):
        raise SystemExit(status)

    import builtins

    builtins.exit = builtins.quit = leave
    here = sys.prefix + "/lib/python"
    sys.path.extend([here + "3/dist-packages", here + "%d.%d/site-packages" % sys.version_info[:2]])


def prepare_like_a_judge(code, space):
    """Sites that call a function import these for the program; only what it names is imported."""
    prepare(code, space)
    names, open_codes = set(), [code]
    while open_codes:
        one = open_codes.pop()
        names.update(one.co_names)
        open_codes.extend(c for c in one.co_consts if isinstance(c, type(code)))
    for module, given in GIVEN.items():
        for name in given:
            if name in names:
                space.setdefault(name, getattr(__import__(module), name))
    for module in ("math", "collections", "itertools", "functools", "heapq", "bisect", "string", "re", "random", "operator"):
        if module in names:
            space.setdefault(module, __import__(module))


GIVEN = {
    "typing": ["List", "Dict", "Tuple", "Set", "Optional", "Union", "Any", "Callable", "Iterable", "Deque", "DefaultDict"],
    "collections": ["defaultdict", "Counter", "deque", "OrderedDict"],
    "itertools": ["accumulate", "product", "permutations", "combinations", "groupby", "chain", "zip_longest", "pairwise"],
    "functools": ["lru_cache", "cache", "reduce", "cmp_to_key"],
    "heapq": ["heapify", "heappush", "heappop", "heappushpop", "heapreplace", "nlargest", "nsmallest"],
    "bisect": ["bisect_left", "bisect_right", "insort"],
    "math": ["inf", "gcd", "sqrt", "ceil", "floor", "comb", "isqrt", "log2"],
}
