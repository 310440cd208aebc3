// node build.mjs [OUT] — makes a component of policy.js. With its features disabled, the engine imports no WASI at all, so the
// component needs no grant: it can reach nothing but what the contract's world `policy` offers.
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

// The tool may be installed here, or where OPENSHELL_NODE_MODULES says.
const here = dirname(fileURLToPath(import.meta.url));
const modules = process.env.OPENSHELL_NODE_MODULES ?? join(here, "node_modules");
const tool = join(modules, "@bytecodealliance/componentize-js");
const { exports } = JSON.parse(await readFile(join(tool, "package.json"), "utf8"));
const { componentize } = await import(pathToFileURL(join(tool, exports.import)));

const { component } = await componentize({
  sourcePath: join(here, "policy.js"),
  witPath: join(here, "../../policy-sdk/wit"),
  worldName: "policy",
  disableFeatures: ["random", "stdio", "clocks", "http", "fetch-event"],
});
await writeFile(process.argv[2] ?? "policy.wasm", component);
