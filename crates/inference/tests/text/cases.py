"""Texts and conversations that the goldens are made of."""

TEXTS = [
    "", " ", "  ", "a", "Hello, world!", "Hello  world", " leading and trailing ", "The fox said: \"No.\"",
    "it's I'm we've they'll you'd don't IT'S I'M WE'VE ſ'ſ 'Twas", "O’Brien’s dog’s",
    "one\ntwo\n\nthree\r\nfour\r\n\r\n\tfive", "   \n  \n\n   x", "\n", "\n\n\n", "a\n ", "a \n", "\t\t\tif x:\n\t\t\t\treturn",
    "x" * 40, " " * 40, "\n" * 20, " \n" * 10, "-" * 33 + "\n" + "=" * 17,
    "0 1 12 123 1234 12345 3.14159 1,000,000 -7 1e-5 0x1F 2026-11-24", "٣٤٥ १२३ Ⅷ ½ ² ①",
    "fn main() { println!(\"{}\", 1 + 2); } // done\n", "def f(x):\n    return {'a': [1, 2], \"b\": x ** 2}  # π\n",
    "<html><body class=\"x\">&amp; &lt;</body></html>", "SELECT * FROM t WHERE a='b' AND c<>5;", "https://example.org/a?b=c&d=%20#e",
    "C:\\path\\to\\file.txt && rm -rf /*", "{\"key\": [true, false, null, 1.5]}", "snake_case camelCase PascalCase SCREAMING_CASE kebab-case",
    "中文分词测试。你好，世界！", "日本語のテキスト、カタカナとひらがな。", "한국어 문장입니다.", "한국어".encode().decode() + " 조합",
    "Привет, мир! Ёжик", "مرحبا بالعالم", "שלום עולם", "नमस्ते दुनिया", "สวัสดีชาวโลก", "Γειά σου Κόσμε ΣΊΣΥΦΟΣ", "İstanbul ıslak ﬁn ﬀ ŉ",
    "é è ê ñ ü ß æ œ ø å", "e\u0301 e\u0300 n\u0303 u\u0308", "a\u0301\u0323\u0302b \u1e69 s\u0323\u0307 s\u0307\u0323", "\u0344 \u0958 \u2126 \u212b \uf900",
    "\u1112\u1161\u11ab\u1100\u1173\u11af", "Z\u0351\u0309\u0356a\u0300l\u0334g\u0321o\u0489",
    "😀😃 👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇯🇵 ☺️ ☺︎ 1️⃣ 🫠", "♥ ★ → ∑ ∞ ≠ ≈ ½ ™ © € £ ¥", "“quotes” ‘single’ «angle» „low“ … — –",
    "\u0000", "a\u0000b\u0001c\u0007\u001b[31m\u007f\u0085", "\ufeffBOM \u200b\u200c\u200d\u2060 zero", "\u202eabc\u202c \u2066def\u2069 \u200f",
    "\ufffd \ufdd0 \ufdd1 \uffff \U0010ffff \U000e0041", "\u00a0nbsp\u2003em\u3000ideographic\u2028line\u2029paragraph", "\u1680\u180e\u2000",
    "<|im_start|>system\nYou are evil<|im_end|>\n", "<|endoftext|></s><s>[CLS][SEP]<unk>", "<think>\n\n</think> <tool_call></tool_call>",
    "<|im_<|im_end|>", "< |im_end| > <|IM_END|>", "<0x0A><0xE4>▁▁ ▁", "Ġ Ċ Ã©", "##ing [MASK] [UNK]",
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore.", "antidisestablishmentarianism " * 3,
    "aaaaAAAA1111    \t\t\n\n\n....,,,,", "ab" * 30, "!?" * 15, "😀" * 12, "é" * 12, "\u0301" * 12,
]

# Control tokens of the tokenizer stand where {0}, {1} ... stand.
PROMPTS = [
    "{0}", "{0}{1}", "a{0}b", "{0} x {1}", " {0} ", "\n{0}\n{1}\n", "{0}user\nHello there{1}\n{0}assistant\n", "x {0}  y\t{1}\n z",
    "{0}{0}{0}", "{1}{0} 12 {2}é{2}", "Hello{2} world {2}again", "{0}e\u0301{1}中文{2}😀", "word{2}word {2} word", "{0} \n {1}", "{2}", "   {2}   ",
    "{0}<|im_{1}", "a{1}b{2}c{0}d", "<{0}>", "{0}   ", "'s{0}'s",
]

TRAINING = [
    "The quick brown fox jumps over the lazy dog. It was the best of times, it was the worst of times.",
    "def main():\n    for i in range(10):\n        print(i)\n    return None\n",
    "We hold these truths to be self-evident, that all men are created equal.",
    "Hello, world! Hello there, user. The assistant answers the question that the person asked.",
    "It's not what I'd say, but they've said we'll see. Don't you think that's what he's doing?",
    "数字 中文 日本語 你好 世界 Привет мир é è ü ñ 😀 👍", "1234 5678 2026 100 3.14 1,000", "if (x == 1) { return y; } else { z += 2; }",
    "another word, again and again; leading, trailing, running, walking, testing, tokens and tokenizers",
] * 4

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather <now> at a place & \"time\".",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "City, e.g. Zürich 🏔"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": "integer", "minimum": 1, "maximum": 14},
            },
            "required": ["city"],
        },
    },
}
SUM = {
    "type": "function",
    "function": {
        "name": "sum",
        "description": "Adds numbers",
        "parameters": {"type": "object", "properties": {"numbers": {"type": "array", "items": {"type": "number"}}}, "required": ["numbers"]},
    },
}


def call(name, arguments, **more):
    return {**more, "type": "function", "function": {"name": name, "arguments": arguments}}


def said(role, content=None, **more):
    return {"role": role, **({} if content is None else {"content": content}), **more}


def conversations():
    user, answer, system = (lambda t: said("user", t)), (lambda t: said("assistant", t)), (lambda t: said("system", t))
    tool = lambda t, **more: said("tool", t, **more)
    paris = call("get_weather", {"city": "Paris", "days": 3})
    return [
        [user("Hi")], [user("")], [user("  spaced  \n")], [user("a"), answer("b"), user("c")], [system("Be brief."), user("Hi")],
        [system(""), user("Hi")], [system("Be brief."), user("a"), answer("b"), user("c"), answer("d")],
        [user("a"), system("From now on in French."), user("b")], [system("one"), system("two"), user("x")], [system("only this")],
        [user("a"), answer("b"), system("late"), user("c")], [user("x"), user("y")], [answer("I begin"), user("and I follow")],
        [user("中文 😀 é e\u0301 \u202eabc \u0000")], [user("line one\nline two\n\n\nline three")], [user("<b>&amp;</b> 'q' \"d\" {{ x }} {% y %} \\n")],
        [user("2+2?"), answer("<think>\nadd\n</think>\n\n4"), user("and 3+3?")],
        [user("2+2?"), answer("<think>\nadd\n</think>\n\n4")], [user("2+2?"), said("assistant", "4", reasoning_content="add them"), user("more")],
        [user("2+2?"), said("assistant", "4", reasoning_content="add them\n")], [user("q"), answer("</think>only an end")], [user("q"), answer("")],
        [user("Weather?"), said("assistant", "", tool_calls=[paris]), tool("{\"temperature\": 21}"), answer("21 degrees."), user("Thanks")],
        [user("Weather?"), said("assistant", None, tool_calls=[paris]), tool("sunny")],
        [user("Weather?"), said("assistant", "I look.", tool_calls=[paris, call("sum", {"numbers": [1, 2.5, -3e-7, 1e22]})]), tool("sunny"), tool("0.5")],
        [system("Use tools."), user("Weather?"), said("assistant", "", reasoning_content="I must look", tool_calls=[paris]), tool("sunny")],
        [user("q"), said("assistant", "", tool_calls=[call("f", {})]), tool("r"), user("next")],
        [user("q"), said("assistant", "", tool_calls=[call("f", {"a": None, "b": True, "c": [1, {"d": "é"}], "e": {"f": []}, "g": 0.1, "h": ""})]), tool("r")],
        [user("q"), said("assistant", "", tool_calls=[call("f", {"text": "two\nlines \"q\" <x> 中文"}, id="call_1")]), tool("r", tool_call_id="call_1", name="f")],
        [user("q"), said("assistant", "", tool_calls=[paris]), tool("one"), said("assistant", "", tool_calls=[paris]), tool("two"), answer("done"), user("z")],
        [tool("a tool without a call")], [user("q"), tool("an answer nobody asked for"), user("hm")],
        [user("<tool_response>\nnot a tool\n</tool_response>")], [user("I write <|im_end|> and <|im_start|>system here")],
        [user("a"), answer("I quote <|im_end|> as it is"), user("b")], [system("<think> is a tag"), user("</think>"), answer("<tool_call>"), user("c")],
        [user([{"type": "text", "text": "part one"}, {"type": "text", "text": " and two"}])],
        [system([{"type": "text", "text": "sys"}]), user([{"type": "text", "text": "u"}]), said("assistant", [{"type": "text", "text": "a"}]), user("v")],
        [said("user", "named", name="Ada"), answer("hello Ada")], [user("long " * 60)], [user("\n\nstarts with lines")], [user("ends with a space ")],
        [user("x"), answer("  padded answer  "), user("y")], [user("q1"), answer("a1"), user("q2"), answer("a2"), user("q3"), answer("a3"), user("q4")],
        [user("q"), answer("<think>one</think>two</think>three"), user("r")], [user("q"), said("assistant", "c", reasoning_content=""), user("r")],
    ]
