//! Text that a careless search for marks would read again and again.

/// Repeated, each is a reply.
pub(crate) const UNITS: [&str; 23] = [
    "\\boxed{",
    "\\boxed",
    "\\boxed ",
    "{",
    "}",
    "\\",
    "<answer>",
    "<answer",
    "#### 1\n",
    "####",
    "the answer is ",
    "answer\t",
    "the answer to ",
    "\\boxed{1}",
    "\\boxed{\n",
    "\n",
    " ",
    "*",
    "$",
    "<think>",
    "答案",
    "**",
    "answer:\n",
];
