"""Writes spellings.json: one JSON value as the writers of several languages spell it. Needs Node.js, Go and jq."""

import json
import os
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

VALUE = {
    "order": "café ☃ 😀 \u2028 </b> & 'x' \"y\" a=b+c `d` http://x/y \\ \t\n \b\f \x1f \x7f",
    "amount": 9.5,
    "items": [1, {"b": True, "a": None}, [], {}],
    "empty": {},
    "big": 100,
}

NODE = """
const value = JSON.parse(require("fs").readFileSync(0));
const write = (name, ...more) => [name, JSON.stringify(value, ...more)];
console.log(JSON.stringify([write("node"), write("node, 2", null, 2), write("node, 4", null, 4), write("node, tab", null, "\\t")]));
"""

GO = """
package main

import ("bytes"; "encoding/json"; "os")

func main() {
	var value map[string]any
	json.NewDecoder(os.Stdin).Decode(&value)
	plain, _ := json.Marshal(value)
	lines, _ := json.MarshalIndent(value, "", "  ")
	var encoded, raw bytes.Buffer
	json.NewEncoder(&encoded).Encode(value)
	encoder := json.NewEncoder(&raw)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "\\t")
	encoder.Encode(value)
	json.NewEncoder(os.Stdout).Encode([][]string{{"go, sorted", string(plain)}, {"go, 2, sorted", string(lines)},
		{"go, encoder, sorted", encoded.String()}, {"go, unescaped, sorted", raw.String()}})
}
"""


def python():
    styles = [
        {},
        {"ensure_ascii": False},
        {"separators": (",", ":")},
        {"indent": 2},
        {"indent": 4, "ensure_ascii": False},
        {"indent": "\t"},
    ]
    for style in styles:
        yield [f"python, {style}", json.dumps(VALUE, **style)]
        yield [f"python, {style}, sorted", json.dumps(VALUE, sort_keys=True, **style)]


def output(command):
    return subprocess.run(command, input=json.dumps(VALUE), stdout=subprocess.PIPE, text=True, check=True).stdout


def main():
    spellings = list(python()) + json.loads(output(["node", "-e", NODE]))
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "main.go")
        with open(program, "w", encoding="utf-8") as file:
            file.write(GO)
        spellings += json.loads(output(["go", "run", program]))
    spellings += [["jq", output(["jq", "."])], ["jq -c", output(["jq", "-c", "."])], ["jq -S, sorted", output(["jq", "-S", "."])]]
    with open(os.path.join(HERE, "spellings.json"), "w", encoding="utf-8") as file:
        json.dump(spellings, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
