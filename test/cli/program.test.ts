import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { beforeAll, describe, expect, test } from 'vitest';
import { addTrain } from '../../src/cli/commands/train.ts';
import { buildProgram, runCli } from '../../src/cli/program.ts';
import { explainMissing } from '../../src/cli/training.ts';
import { readRecording } from '../../src/ecg/files.ts';
import { BlindbeatError, ERROR_CODES } from '../../src/errors.ts';
import { blindbeat, blindbeatJson, Collected, saveSmallModel, temporaryFolder } from './helpers.ts';

const folder = temporaryFolder();
const model = join(folder, 'small');
const program = () => buildProgram({ stdout: new Collected(), stderr: new Collected() });
const COMMANDS = program().commands.map((command) => command.name());

beforeAll(async () => {
  await saveSmallModel(model);
});

describe('help', () => {
  test('when the program is built then these are its commands, in the order of use', () => {
    expect(COMMANDS).toEqual([
      'classify',
      'plan',
      'keygen',
      'encrypt',
      'infer',
      'decrypt',
      'serve',
      'worker',
      'token',
      'synth',
      'data',
      'train',
      'evaluate',
      'evaluate-degrees',
      'bench',
      'approx',
    ]);
  });

  test('when --help is given then commands, the flow and exit codes are within 80 columns', async () => {
    const { code, stdout } = await blindbeat('--help');
    expect(code).toBe(0);
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${command} `, 'm'));
    for (const { exit } of Object.values(ERROR_CODES)) expect(stdout).toMatch(new RegExp(`\\b${exit} \\w`));
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  });

  test.each(COMMANDS)(
    'when %s --help is given then it has examples and all options are explained',
    async (name) => {
      const { code, stdout } = await blindbeat(name, '--help');
      expect(code).toBe(0);
      expect(stdout).toContain(`Usage: blindbeat ${name}`);
      expect(stdout).toMatch(new RegExp(`Examples:\n  \\$ blindbeat ${name}\\b`));
      const command = program().commands.find((c) => c.name() === name)!;
      for (const option of command.options) expect(option.description).not.toBe('');
      expect(command.options.map((o) => o.long)).toContain('--json');
      for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    },
  );

  test('when a command is misspelt then the right one is suggested', async () => {
    const { code, stderr } = await blindbeat('clasify');
    expect(code).toBe(2);
    expect(stderr).toContain('Did you mean classify?');
  });

  test('when no command is given then help is shown and the exit code says usage', async () => {
    const { code, stderr } = await blindbeat();
    expect(code).toBe(2);
    expect(stderr).toContain('Usage: blindbeat');
  });

  test('when --version is given then it is that of the package', async () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
    expect((await blindbeat('--version')).stdout).toBe(`${version}\n`);
  });
});

describe('errors', () => {
  test('when wrong flags come with --json then the object on standard output tells', async () => {
    const { code, json } = await blindbeatJson('plan', '--model', model, '--outputs', 'all');
    expect(code).toBe(2);
    expect(json).toEqual({ error: { code: 'USAGE', message: expect.stringContaining('--outputs') } });
  });

  test('when something unforeseen happens then it is called our fault, with its place', async () => {
    const broken = new Collected();
    broken.write = () => {
      throw new TypeError('the pen broke');
    };
    const stderr = new Collected();
    const code = await runCli(['plan', '--model', model], { stdout: broken, stderr });
    expect(code).toBe(70);
    expect(stderr.text).toMatch(/the pen broke[\s\S]*fault of blindbeat[\s\S]*plan\.ts/);
  });

  test('when an error quotes a file then its control characters do not reach the terminal', async () => {
    const { stderr } = await blindbeat('classify', '--model', '/no/\u001b[31mwhere');
    expect(stderr).toContain('/no/?[31mwhere');
  });
});

describe('plan', () => {
  test('when it prints for people then stages, primes, keys, sizes, memory and time are there', async () => {
    const { stdout, code } = await blindbeat('plan', '--model', model);
    expect(code).toBe(0);
    for (const part of ['block 1', 'square 2', 'mean over time', 'limbs', 'key switches']) {
      expect(stdout).toContain(part);
    }
    expect(stdout).toMatch(/parameters +N = 8192, .*log2 QP = \d+\.\d, 128 bit/);
    expect(stdout).toMatch(/primes +30 .* bits, special 30/);
    expect(stdout).toMatch(/keys +relinearisation at \d+ limbs, \d+ rotations/);
    expect(stdout).toMatch(/client sends +\d.* MB evaluation keys once, \d+ kB per ECG/);
    expect(stdout).toMatch(/memory .*ciphertexts.*keys.*weights/);
    expect(stdout).toMatch(/time +about/);
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  });

  test('when --json is given then one object has it all', async () => {
    const { json } = await blindbeatJson('plan', '--model', model);
    expect(Object.keys(json)).toEqual([
      'model',
      'planHash',
      'params',
      'stages',
      'operations',
      'keys',
      'bytes',
      'estimate',
      'scoreBound',
      'scoreLimit',
    ]);
    expect(json.stages).toHaveLength(6);
  });

  test('when the map is planned then the plan is another one and the reply larger', async () => {
    const scores = await blindbeatJson('plan', '--model', model);
    const map = await blindbeatJson('plan', '--model', model, '--outputs', 'scores+map');
    expect(map.json.planHash).not.toBe(scores.json.planHash);
    expect(map.json.bytes.reply).toBeGreaterThan(scores.json.bytes.reply);
  });
});

describe('synth', () => {
  test('when an ECG is written then it can be read again as long and as fast as was asked', async () => {
    const path = join(folder, 'af.csv');
    const { code, json } = await blindbeatJson(
      ...['synth', '--rhythm', 'af', '--seconds', '12', '--rate', '250', '--seed', '3', '--out', path],
    );
    expect(code).toBe(0);
    expect(json).toMatchObject({ path, samples: 3000, rhythm: 'af', seconds: 12, rate: 250, seed: 3 });
    const recording = await readRecording(path);
    expect(recording.rate).toBeCloseTo(250, 6);
    expect(recording.leads[0].mv).toHaveLength(3000);
  });

  test('when the seed is the same then so is the file', async () => {
    const paths = ['1.csv', '2.csv'].map((name) => join(folder, name));
    for (const path of paths) await blindbeat('synth', '--seconds', '5', '--seed', '9', '--out', path);
    expect(readFileSync(paths[0], 'utf8')).toBe(readFileSync(paths[1], 'utf8'));
  });
});

describe('train', () => {
  function trainer(load: Parameters<typeof addTrain>[2]) {
    const io = { stdout: new Collected(), stderr: new Collected() };
    const command = new Command('blindbeat').exitOverride();
    addTrain(command, io, load);
    return { io, run: (...args: string[]) => command.parseAsync(['train', ...args], { from: 'user' }) };
  }

  test('when options are given then training gets them', async () => {
    let given: unknown;
    const { io, run } = trainer(async () => ({
      train: async ({ reporter: _, signal, ...options }) => {
        expect(signal).toBeInstanceOf(AbortSignal);
        given = options;
        return { model: { name: 'mine' }, metrics: { cincScore: 0.8 } } as never;
      },
      streamReporter: () => undefined,
    }));
    await run(
      ...['--data', 'd.zip', '--out', 'models/mine', '--resume', '--init', 'm', '--epochs', '3', '--json'],
    );
    expect(given).toEqual({
      data: 'd.zip',
      out: 'models/mine',
      config: 'deepcardio-deg2',
      resume: true,
      init: 'm',
      epochs: 3,
      seed: 1,
      work: 'runs',
    });
    expect(JSON.parse(io.stdout.text)).toEqual({
      model: 'mine',
      path: 'models/mine',
      metrics: { cincScore: 0.8 },
    });
  });

  test('when TensorFlow.js is not installed then it says what to install', () => {
    const missing = Object.assign(new Error("Cannot find package '@tensorflow/tfjs-core' imported from x"), {
      code: 'ERR_MODULE_NOT_FOUND',
    });
    const error = explainMissing(missing) as BlindbeatError;
    expect(error).toBeInstanceOf(BlindbeatError);
    expect(error.code).toBe('ENVIRONMENT');
    expect(error.message).toMatch(
      /npm ci[\s\S]*npm install --no-save \.\/training[\s\S]*npm install @tensorflow/,
    );
    const other = new Error('something else');
    expect(explainMissing(other)).toBe(other);
  });

  test.each([
    ['no data', ['--out', 'x'], /--data/],
    ['no output', ['--data', 'x'], /--out/],
    ['no epochs', ['--data', 'x', '--out', 'y', '--epochs', '0'], /whole number/],
    ['an unknown backend', ['--data', 'x', '--out', 'y', '--backend', 'cuda'], /wasm/],
  ])('when there is %s then it is refused', async (_, args, words) => {
    const { code, stderr } = await blindbeat('train', ...args);
    expect(code).toBe(2);
    expect(stderr).toMatch(words);
  });
});

describe('bench', () => {
  test('when a small ring is calibrated then its costs are written, and estimate and choose where asked', {
    timeout: 120_000,
  }, async () => {
    const tiny = await saveSmallModel(join(folder, 'tiny'), { samples: 256, channels: [4], kernel: 3 });
    const out = join(folder, 'costs.json');
    const { stdout, code } = await blindbeat('bench', '--calibrate', '--model', tiny, '--out', out);
    expect(code).toBe(0);
    expect(stdout).toMatch(/hoistedRotate +\d/);
    expect(stdout).toMatch(/per ECG on one core/);
    for (const line of stdout.replaceAll(out, 'costs.json').split('\n'))
      expect(line.length).toBeLessThanOrEqual(80);
    const { costs, measured } = JSON.parse(readFileSync(out, 'utf8'));
    expect(measured.map((row: { limbs: number }) => row.limbs)).toContain(4);
    expect(costs.rotate.squared + costs.rotate.linear).toBeGreaterThan(0);

    const { json: builtIn } = await blindbeatJson('plan', '--model', tiny);
    const { json: estimated } = await blindbeatJson('plan', '--model', tiny, '--costs', out);
    expect(estimated.planHash).toBe(builtIn.planHash);
    expect(estimated.estimate.serverMs).not.toBe(builtIn.estimate.serverMs);
    expect((await blindbeat('plan', '--model', tiny, '--schedule-costs', out)).code).toBe(0);
    const wrong = await blindbeatJson('plan', '--model', tiny, '--costs', join(tiny, 'model.json'));
    expect(wrong.json.error.code).toBe('FORMAT');
    expect((await blindbeat('bench')).code).toBe(2);
  });
});

describe('key switching', () => {
  const plan = (word: string) => blindbeatJson('plan', '--model', model, '--key-switching', word);

  test.each([
    ['hybrid', 'grouped'],
    ['per-prime', 'seal'],
  ])(
    'when %s is called by its old word %s then the plan is the same and one note says so',
    async (word, old) => {
      const today = await plan(word);
      expect([today.code, today.stderr]).toEqual([0, '']);
      const before = await plan(old);
      expect(before.stderr).toBe(
        `note: ${old} is now called ${word}; the old word goes with the next release\n`,
      );
      expect(before.stdout).toBe(today.stdout);
    },
  );

  test('when the words are compared then their keys differ', async () => {
    const [hybrid, perPrime, preset] = [
      await plan('hybrid'),
      await plan('per-prime'),
      await blindbeatJson('plan', '--model', model),
    ];
    expect(hybrid.json.keys.gadgets).not.toEqual([]);
    expect(perPrime.json.keys.gadgets).toEqual([]);
    expect(preset.json.planHash).toBe(hybrid.json.planHash);
  });

  test('when the word is another one then those that there are are told', async () => {
    const { code, json, stderr } = await plan('seals');
    expect([code, stderr]).toEqual([2, expect.not.stringContaining('note')]);
    expect(json.error.message).toMatch(/Allowed choices are hybrid, per-prime/);
  });
});

describe('key budget', () => {
  test('when keys may take less room then the plan takes less, or says what it needs', async () => {
    const { json: roomy } = await blindbeatJson('plan', '--model', model);
    const megabytes = `${(0.8 * roomy.bytes.evaluationKeys) / 1e6}`;
    const { json } = await blindbeatJson('plan', '--model', model, '--key-budget', megabytes);
    expect(json.bytes.evaluationKeys).toBeLessThanOrEqual(1e6 * Number(megabytes));
    expect(json.estimate.serverMs).toBeGreaterThan(roomy.estimate.serverMs);
    const { json: none } = await blindbeatJson('plan', '--model', model, '--key-budget', '1');
    expect(none.error).toMatchObject({ code: 'PLAN', message: expect.stringContaining('--key-budget') });
  });
});
