import { type ChildProcess, spawn } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ROOT } from '../shared/environment.ts';

/** What of a line of the service's log is of use here. */
interface LogLine {
  listening?: string;
  evaluator?: string;
  pid?: number;
}

/** `blindbeat serve`, and the processes that it starts. Disposing ends them. */
export class ServiceProcess implements AsyncDisposable {
  readonly url: string;
  readonly #process: ChildProcess;
  readonly #exit: Promise<unknown>;
  /** Processes that evaluate, the last one opened last. */
  readonly evaluators: number[];

  private constructor(child: ChildProcess, exit: Promise<unknown>, url: string, evaluators: number[]) {
    this.#process = child;
    this.#exit = exit;
    this.url = url;
    this.evaluators = evaluators;
  }

  /** @param options of the command; it listens where a port is free */
  static async start(options: string[]): Promise<ServiceProcess> {
    const args = [join(ROOT, 'bin/blindbeat.js'), 'serve', '--json', '--port', '0', ...options];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const exit = new Promise((resolve) => child.once('exit', resolve));
    const evaluators: number[] = [];
    const url = await new Promise<string>((resolve, reject) => {
      createInterface(child.stdout).on('line', (line) => {
        const { listening, evaluator, pid }: LogLine = JSON.parse(line);
        if (listening) resolve(listening);
        if (evaluator === 'opened' && pid !== undefined) evaluators.push(pid);
      });
      exit.then((code) => reject(new Error(`blindbeat serve ended with exit code ${code}`)));
    });
    return new ServiceProcess(child, exit, url, evaluators);
  }

  /** Bytes that the service's process and its evaluators hold now; on Linux, elsewhere 0. */
  async memory(): Promise<number> {
    const parent = this.#process.pid!;
    const all = await readdir('/proc').catch(() => []);
    const sizes = await Promise.all(
      all
        .filter((name) => /^\d+$/.test(name))
        .map(async (name) => {
          const status = await readFile(`/proc/${name}/status`, 'utf8').catch(() => '');
          const field = (key: string) => Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
          return Number(name) === parent || field('PPid') === parent ? 1024 * field('VmRSS') : 0;
        }),
    );
    return sizes.reduce((a, b) => a + b, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill('SIGTERM');
    await this.#exit;
  }
}
