// Runs parsers of multipart forms. Each line of the input is {"type": text, "body": base64}. The answer is a line of JSON
// with the values that each parser finds under each name, or null if it fails. Packages are resolved from the working
// directory.

import { createInterface } from "node:readline";
import { readFile, rm } from "node:fs/promises";
import { Readable } from "node:stream";

const { default: busboy } = await import("busboy");
const { default: multer } = await import("multer");
const { default: multiparty } = await import("multiparty");
const { formidable } = await import("formidable");

const PATIENCE = 60_000;

const add = (found, name, value) => (found[name] ??= []).push(value);

const text = async (stream) => {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString("latin1");
};

const request = (type, body) =>
  Object.assign(Readable.from([body]), {
    headers: { "content-type": type, "content-length": String(body.length) },
    method: "POST",
  });

const READERS = {
  busboy: (type, body) =>
    new Promise((resolve, reject) => {
      const found = {};
      const files = [];
      const parser = busboy({ headers: { "content-type": type } });
      parser.on("field", (name, value) => add(found, name, value));
      parser.on("file", (name, file) => files.push(text(file).then((value) => add(found, name, value))));
      parser.on("error", reject);
      parser.on("close", () => Promise.all(files).then(() => resolve(found), reject));
      Readable.from([body]).pipe(parser);
    }),
  multer: (type, body) =>
    new Promise((resolve, reject) => {
      const asked = request(type, body);
      multer().any()(asked, {}, (error) => {
        if (error) return reject(error);
        const found = {};
        for (const [name, value] of Object.entries(asked.body)) [value].flat(9).forEach((each) => add(found, name, each));
        for (const file of asked.files ?? []) add(found, file.fieldname, file.buffer.toString("latin1"));
        resolve(found);
      });
    }),
  multiparty: (type, body) =>
    new Promise((resolve, reject) => {
      const found = {};
      const files = [];
      const parser = new multiparty.Form();
      parser.on("error", reject);
      parser.on("field", (name, value) => add(found, name, value));
      parser.on("part", (part) => files.push(text(part).then((value) => add(found, part.name, value), () => {})));
      parser.on("close", () => Promise.all(files).then(() => resolve(found), reject));
      parser.parse(request(type, body));
    }),
  formidable: async (type, body) => {
    const parser = formidable({ allowEmptyFiles: true, minFileSize: 0 });
    const [fields, files] = await parser.parse(request(type, body));
    const found = {};
    for (const [name, values] of Object.entries(fields)) values.forEach((value) => add(found, name, value));
    for (const [name, values] of Object.entries(files)) {
      for (const file of values) {
        add(found, name, await readFile(file.filepath, "latin1"));
        await rm(file.filepath);
      }
    }
    return found;
  },
  fetch: async (type, body) => {
    const found = {};
    const answer = new Response(body, { headers: { "content-type": type } });
    for (const [name, value] of await answer.formData()) {
      add(found, name, typeof value === "string" ? value : await value.text());
    }
    return found;
  },
};

// Some parsers report an error of a stream twice.
process.on("uncaughtException", () => {});
process.on("unhandledRejection", () => {});

const late = () => new Promise((_, reject) => setTimeout(() => reject(new Error("no answer")), PATIENCE).unref());

for await (const line of createInterface({ input: process.stdin })) {
  const { type, body } = JSON.parse(line);
  const bytes = Buffer.from(body, "base64");
  const found = {};
  for (const [reader, read] of Object.entries(READERS)) {
    found[reader] = await Promise.race([read(type, bytes), late()]).catch(() => null);
  }
  console.log(JSON.stringify(found));
}
