// node compile_ksy.js FOLDER LANGUAGE < KSY_AS_JSON > {file: text}
// FOLDER is where npm has installed kaitai-struct-compiler.
const { createRequire } = require("module");
const path = require("path");
const fs = require("fs");

const compiler = createRequire(path.join(path.resolve(process.argv[2]), "x.js"))("kaitai-struct-compiler");
const ksy = JSON.parse(fs.readFileSync(0, "utf8"));
compiler.compile(process.argv[3], ksy, null, false).then(
  (files) => process.stdout.write(JSON.stringify(files)),
  (error) => {
    process.stderr.write(String(error) + "\n");
    process.exit(1);
  },
);
