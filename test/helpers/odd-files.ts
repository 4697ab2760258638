import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdirSync, openSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll } from 'vitest';

/** What stands at a path where a file is expected, and the words of its refusal. */
export const ODD_FILES = {
  'a folder': 'a folder',
  'a pipe': 'a pipe',
  'a link to /dev/zero': 'a device',
  'a device': 'a device',
  'a socket': 'a socket',
  'a link to a pipe': 'a pipe',
  'a circle of links': 'links lead in a circle',
  'a link to nowhere': 'no such file',
  'a file of 10 TB': 'which has 10.0 TB',
} as const;
/** One of `ODD_FILES`. */
export type OddFile = keyof typeof ODD_FILES;

/** Puts one of them at a path. Nothing writes into the pipe, so who waits for it waits for ever. */
export async function putOdd(kind: OddFile, path: string): Promise<void> {
  switch (kind) {
    case 'a folder':
      mkdirSync(path);
      return;
    case 'a pipe':
      execFileSync('mkfifo', [path]);
      return;
    case 'a link to /dev/zero':
      symlinkSync('/dev/zero', path);
      return;
    case 'a device':
      symlinkSync('/dev/tty', path);
      return;
    case 'a socket': {
      const server = createServer();
      await new Promise<void>((ready) => server.listen(path, ready));
      server.unref();
      afterAll(() => server.close());
      return;
    }
    case 'a link to a pipe':
      execFileSync('mkfifo', [`${path}.pipe`]);
      symlinkSync(`${path}.pipe`, path);
      return;
    case 'a circle of links':
      symlinkSync(path, `${path}.back`);
      symlinkSync(`${path}.back`, path);
      return;
    case 'a link to nowhere':
      symlinkSync(join(path, '..', 'nowhere'), path);
      return;
    case 'a file of 10 TB': {
      const file = openSync(path, 'w');
      ftruncateSync(file, 10e12); // no block of it is on the disk
      closeSync(file);
    }
  }
}

/** How long a refusal may take, in milliseconds. */
export const SOON = 1000;
