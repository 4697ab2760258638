import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, realpathSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createServer, request as forward, type IncomingMessage, type ServerResponse } from 'node:http';
import { stripTypeScriptTypes } from 'node:module';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { wireSizes } from '../../src/ckks/wire/file-sizes.ts';
import { Random } from '../../src/ecg/random.ts';
import { forward as clearScores } from '../../src/model/forward.ts';
import { randomModel } from '../helpers/random-model.ts';
import { TestService } from '../helpers/test-service.ts';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const ROOT = resolve(import.meta.dirname, '../..');
/** What a bundler would find. */
const PACKAGES = ['@noble/hashes/sha2.js', '@noble/hashes/utils.js', 'valibot', 'd3-dsv', 'node-seal/allows'];
const MODULES = realpathSync(join(ROOT, 'node_modules'));

const model = randomModel({ samples: 256, channels: [4], kernel: 3 });
const random = new Random(1);
const segment = Float32Array.from({ length: 256 }, () => random.normal() / 2);

/** The sources as a browser takes them, and the service under a path, as behind a proxy. */
async function servePage(
  service: TestService,
  script: string,
): Promise<{ url: string; said: Promise<unknown> }> {
  const said = Promise.withResolvers<unknown>();
  const imports = Object.fromEntries(
    PACKAGES.map((name) => {
      const file = realpathSync(fileURLToPath(import.meta.resolve(name)));
      return [name, `/node_modules${file.slice(MODULES.length)}`];
    }),
  );
  const page =
    `<script type="importmap">${JSON.stringify({ imports })}</script>` +
    `<script type="module">
      const say = (what) => fetch('/said', { method: 'POST', body: JSON.stringify(what) });
      addEventListener('error', (event) => say({ error: event.message }));
      try { await say(await (async () => {${script}})()); } catch (error) { say({ error: String(error.stack) }); }
    </script>`;
  const server = createServer((request, response) => {
    const path = new URL(request.url!, 'http://here').pathname;
    if (path === '/') response.setHeader('content-type', 'text/html').end(page);
    else if (path === '/said') read(request).then((text) => said.resolve(JSON.parse(text)), said.reject);
    else if (path.startsWith('/heart/')) proxy(`${service.url}${request.url!.slice(6)}`, request, response);
    else serveFile(path, response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, said: said.promise };
}

function serveFile(path: string, response: ServerResponse): void {
  const file = path.startsWith('/node_modules/') ? join(MODULES, path.slice(13)) : join(ROOT, path);
  if (!existsSync(file)) return void response.writeHead(404).end();
  const content = readFileSync(file);
  const type = file.endsWith('.wasm') ? 'application/wasm' : 'text/javascript';
  response.setHeader('content-type', type);
  response.end(file.endsWith('.ts') ? stripTypeScriptTypes(content.toString()) : content);
}

function proxy(url: string, request: IncomingMessage, response: ServerResponse): void {
  const { method, headers } = request;
  const onward = forward(url, { method, headers }, (answer) => {
    response.writeHead(answer.statusCode!, answer.headers);
    answer.pipe(response);
  });
  request.pipe(onward);
}

async function read(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

function browse(url: string): void {
  const profile = mkdtempSync(join(tmpdir(), 'blindbeat-browser-'));
  const browser = spawn(
    CHROMIUM,
    ['--headless', '--no-sandbox', '--disable-gpu', `--user-data-dir=${profile}`, url],
    { stdio: 'ignore' },
  );
  onTestFinished(async () => {
    browser.kill(); // it ends its children itself
    await once(browser, 'close');
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  });
}

interface Visit {
  tasks: string[];
  sent: number;
  scores: number[];
}

interface Visits {
  error?: string;
  visits: Visit[];
  third: Visit;
  left: unknown;
}

describe.skipIf(!existsSync(CHROMIUM))('a page in Chromium (skipped where $CHROMIUM is not)', () => {
  test('when it classifies then its keys stay in the browser, and the second time nothing is sent', async () => {
    using service = await TestService.start(model);
    const { url, said } = await servePage(
      service,
      `
      const { RemoteClient, IndexedDbKeys } = await import('/src/client.ts');
      const segment = Float32Array.from(${JSON.stringify([...segment])});
      const visit = async () => {
        const tasks = [];
        const start = (label) => (tasks.push(label), { update() {}, [Symbol.dispose]() {} });
        const keys = new IndexedDbKeys();
        using client = await RemoteClient.connect(location.origin + '/heart', { keys, start });
        const { decrypted, steps } = await client.classify(segment);
        return { tasks, sent: client.sentKeyBytes, scores: decrypted.scores, serverMs: steps.server };
      };
      const keys = new IndexedDbKeys();
      const visits = [await visit(), await visit()];
      const client = await RemoteClient.connect(location.origin + '/heart', { keys });
      await client.deleteKeys();
      return { visits, left: await keys.load(client.manifest), third: await visit() };
      `,
    );
    browse(url);
    const { error, visits, left, third } = (await said) as Visits;
    expect(error).toBeUndefined();
    const size = wireSizes(service.server.manifest).evaluationKeys;
    const making = ['making evaluation keys', 'sending the keys'];
    expect(visits.map((visit) => visit.tasks)).toEqual([making, []]);
    expect([visits[0].sent, visits[1].sent, left]).toEqual([size, 0, null]);
    expect([third.tasks, third.sent]).toEqual([making, size]);
    const { scores } = clearScores(model, segment);
    for (const visit of [...visits, third])
      visit.scores.forEach((score, c) => {
        expect(Math.abs(score - scores[c])).toBeLessThan(1e-2);
      });
    expect(service.count('POST')).toBe(3);
  });

  test('when keys are kept then any part of them comes back, and what was given up or refused leaves nothing', async () => {
    using service = await TestService.start(model);
    const { url, said } = await servePage(
      service,
      `
      const { IndexedDbKeys } = await import('/src/client.ts');
      const keys = new IndexedDbKeys('parts');
      const plan = { planHash: 'a'.repeat(64) };
      const bytes = Uint8Array.from({ length: 2500000 }, (_, i) => (i * 7919) >> 8);
      function* pieces() { for (let i = 0; i < bytes.length; i += 90001) yield bytes.subarray(i, i + 90001); }
      const made = (keyId) => ({ keyId, secretKey: Uint8Array.of(1, 2, 3), evaluationKeys: pieces() });
      const failure = (promise) => promise.then(() => null, (error) => error.code ?? error.message);
      const count = () => new Promise((done) => {
        const opening = indexedDB.open('parts');
        opening.onsuccess = () => {
          const counting = opening.result.transaction('pieces').objectStore('pieces').count();
          counting.onsuccess = () => (opening.result.close(), done(counting.result));
        };
      });
      await keys.load(plan);
      const controller = new AbortController();
      controller.abort(new Error('enough'));
      const aborted = [await failure(keys.save(plan, made('k0'), controller.signal)), await keys.load(plan), await count()];
      await keys.save(plan, made('k1'));
      const twice = [await failure(keys.save(plan, made('k2'))), await count()];
      const { secretKey, evaluationKeys } = await keys.load(plan);
      const { size } = evaluationKeys;
      const parts = [[0, size], [5, 6], [1048570, 1048580], [1048576, 2097152], [2400000, size]];
      const same = [];
      for (const [from, to] of parts) {
        const part = await evaluationKeys.slice(from, to);
        same.push(part.length === to - from && part.every((b, i) => b === bytes[from + i]));
      }
      const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)).toHex();
      const known = [size, evaluationKeys.hash === digest, [...secretKey]];
      await keys.delete(plan);
      const gone = [await failure(evaluationKeys.slice(0, 1)), await keys.load(plan), await count()];
      return { aborted, twice, same, known, gone };
      `,
    );
    browse(url);
    expect(await said).toEqual({
      aborted: ['enough', null, 0],
      twice: ['FILE', 3],
      same: [true, true, true, true, true],
      known: [2500000, true, [1, 2, 3]],
      gone: ['FILE', null, 0],
    });
  });
});
