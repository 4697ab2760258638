#!/usr/bin/env node
// Starts the command line: the sources in a clone (Node 24 runs TypeScript as it is), the built files in a package.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const major = Number(process.versions.node.split('.')[0]);
if (major < 24) {
  console.error(
    `blindbeat needs Node 24 or newer, and this is Node ${process.versions.node}.\n` +
      'In a clone, run `npm ci` once and then `npx blindbeat ...` or `npm run ...` in its folder: they use the Node\n' +
      'that the project pins, whatever is installed on the machine.',
  );
  process.exit(10);
}
const source = new URL('../src/cli/main.ts', import.meta.url);
const inPackage = fileURLToPath(import.meta.url)
  .split(/[\\/]/)
  .includes('node_modules');
await import(
  existsSync(source) && !inPackage ? source.href : new URL('../dist/src/cli/main.js', import.meta.url).href
);
