// Compiles a .ksy, given as JSON on stdin, to Python on stdout: `node compile.js FOLDER_OF_THE_COMPILER`.
const compiler = require(process.argv[2]);
const ksy = JSON.parse(require("fs").readFileSync(0, "utf8"));
compiler.compile("python", ksy, null, false).then(
  (files) => process.stdout.write(Object.values(files)[0]),
  (error) => { console.error(String(error)); process.exit(1); });
