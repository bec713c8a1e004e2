// Runs parsers of forms. Each line of the input is {"form": text, "name": text}. The answer is a line of JSON with the
// value that each parser finds under the name. Packages are resolved from the working directory.

import { createInterface } from "node:readline";
import querystring from "node:querystring";

const { default: qs } = await import("qs");

const READERS = {
  qs: (form) => qs.parse(form),
  "qs with dots": (form) => qs.parse(form, { allowDots: true }),
  "qs, the last counts": (form) => qs.parse(form, { duplicates: "last" }),
  "qs with commas": (form) => qs.parse(form, { comma: true }),
  querystring: (form) => querystring.parse(form),
  URLSearchParams: (form) => Object.fromEntries(new URLSearchParams(form)),
  "URLSearchParams, the first counts": (form) =>
    Object.fromEntries([...new URLSearchParams(form)].reverse()),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { form, name } = JSON.parse(line);
  const found = Object.entries(READERS).map(([reader, read]) => [reader, read(form)[name] ?? null]);
  console.log(JSON.stringify(Object.fromEntries(found)));
}
