import type { MathNode } from 'mathjs';
import { BlindbeatError } from '../errors.ts';
import { type Activation, activation, erf, sigmoid } from './activations.ts';
import { kinksOf } from './kinks.ts';

type Fn = (x: number) => number;

const MOST_CHARACTERS = 500;
const SHOWN_CHARACTERS = 60;

/**
 * Characters that no expression of x needs: without them there is nothing to assign, index, compare or quote.
 */
const FOREIGN = /[^\w\s.+\-*/^(),]/u;

const CONSTANTS = new Map([
  ['pi', Math.PI],
  ['e', Math.E],
]);

/** The variable or a constant before a parenthesis, which is a product with it and no call. */
const FACTOR = /(?<![a-z_]\w*)(x|pi|e)(?=\s*\()/gi;

interface Operation {
  of: (a: number, b: number) => number;
  /** How many values it takes; of more than two the result so far and the next one. Default: one. */
  takes?: readonly [least: number, most: number];
  /** Functions at whose zeros it may bend, jump or end, made of its values. Default: none. */
  switches?: (values: Fn[]) => Fn[];
}

const first = (values: Fn[]) => values.slice(0, 1);
const second = (values: Fn[]) => values.slice(1, 2);
const difference = ([a, b]: Fn[]): Fn[] => [(x) => a(x) - b(x)];
const TWO = [2, 2] as const;
const SEVERAL = [2, Number.POSITIVE_INFINITY] as const;

const OPERATORS = new Map<string, Operation>([
  ['add', { of: (a, b) => a + b, takes: TWO }],
  ['subtract', { of: (a, b) => a - b, takes: TWO }],
  ['multiply', { of: (a, b) => a * b, takes: TWO }],
  ['divide', { of: (a, b) => a / b, takes: TWO, switches: second }],
  ['pow', { of: (a, b) => a ** b, takes: TWO, switches: first }],
  ['unaryMinus', { of: (a) => -a }],
  ['unaryPlus', { of: (a) => a }],
]);

const FUNCTIONS = new Map<string, Operation>([
  ['abs', { of: Math.abs, switches: first }],
  ['sign', { of: Math.sign, switches: first }],
  ['max', { of: Math.max, takes: SEVERAL, switches: difference }],
  ['min', { of: Math.min, takes: SEVERAL, switches: difference }],
  ['pow', { of: Math.pow, takes: TWO, switches: first }],
  ['sqrt', { of: Math.sqrt, switches: first }],
  ['cbrt', { of: Math.cbrt, switches: first }],
  ['exp', { of: Math.exp }],
  ['expm1', { of: Math.expm1 }],
  ['log', { of: Math.log, switches: first }],
  ['ln', { of: Math.log, switches: first }],
  ['log2', { of: Math.log2, switches: first }],
  ['log10', { of: Math.log10, switches: first }],
  ['log1p', { of: Math.log1p }],
  ['sin', { of: Math.sin }],
  ['cos', { of: Math.cos }],
  ['tan', { of: Math.tan }],
  ['asin', { of: Math.asin }],
  ['acos', { of: Math.acos }],
  ['atan', { of: Math.atan }],
  ['sinh', { of: Math.sinh }],
  ['cosh', { of: Math.cosh }],
  ['tanh', { of: Math.tanh }],
  ['asinh', { of: Math.asinh }],
  ['acosh', { of: Math.acosh }],
  ['atanh', { of: Math.atanh }],
  ['erf', { of: erf }],
  ['relu', { of: activation('relu').f, switches: first }],
  ['sigmoid', { of: sigmoid }],
  ['silu', { of: activation('silu').f }],
  ['gelu', { of: activation('gelu').f }],
  ['softplus', { of: activation('softplus').f }],
]);

/** The functions that an expression may call; log is the natural one, as ln is. */
export const EXPRESSION_FUNCTIONS: readonly string[] = [...FUNCTIONS.keys()];

/**
 * Whether a text can only be meant as the name of an activation: words of two letters or more, with hyphens
 * between.
 */
export function isName(text: string): boolean {
  return /^[a-z]\w+(-[a-z]\w+)*$/i.test(text);
}

/**
 * An activation by its name, or from an expression of x such as `x / (1 + exp(-1.702 x))`.
 *
 * Only numbers, x, pi, e, the operators + - * / ^ and `EXPRESSION_FUNCTIONS` may be in an expression. The
 * library mathjs reads it, and is loaded when the first expression comes; nothing of it evaluates one. A
 * product may go without its sign: `1/2 x (1 + x)` is x (1 + x)/2. What could be read in two ways, such as
 * `x/2 exp(x)`, is an error.
 *
 * @throws BlindbeatError USAGE if the text is longer than 500 characters, cannot be read, has something else
 * in it, or does not depend on x
 */
export async function parseActivation(text: string): Promise<Activation> {
  if (text.length > MOST_CHARACTERS) {
    throw usage(`Expected an expression of at most ${MOST_CHARACTERS} characters, got ${text.length}.`);
  }
  const name = text.trim().replace(/\s+/g, ' ');
  if (isName(name)) return activation(name);
  if (name === '') throw usage('Expected an activation or an expression of x, got an empty text.');
  const foreign = FOREIGN.exec(name);
  if (foreign) {
    throw usage(
      `${quoted(name)} has ${JSON.stringify(foreign[0])} as character ${foreign.index + 1}: ${ALLOWED}`,
    );
  }
  const compiler = new Compiler(name, await import('mathjs/number'));
  const f = compiler.whole();
  return { name, f, kinks: (range) => kinksOf(compiler.switches, range) };
}

const ALLOWED =
  'an expression has numbers, x, pi, e, + - * / ^ ( ) and functions in it, such as exp, tanh, abs and max.';

/** An expression as a function of x. */
class Compiler {
  /** Functions at whose zeros the expression may bend, jump or end; inner ones first. */
  readonly switches: Fn[] = [];
  readonly #text: string;
  readonly #mathjs: typeof import('mathjs');
  #hasVariable = false;

  constructor(text: string, mathjs: typeof import('mathjs')) {
    this.#text = text;
    this.#mathjs = mathjs;
  }

  whole(): Fn {
    const f = this.#part(this.#read());
    if (this.#hasVariable) return f;
    throw usage(`${quoted(this.#text)} is a constant: there is no x in it.`);
  }

  #read(): MathNode {
    this.#parse(this.#text); // for the places of errors, which are others where parentheses are added
    return this.#parse(this.#text.replace(FACTOR, '($1)'));
  }

  #parse(text: string): MathNode {
    try {
      return this.#mathjs.parse(text);
    } catch (cause) {
      if (!(cause instanceof SyntaxError)) throw cause;
      const [, what, character] = /^(.*?)(?: \(char (\d+)\))?$/s.exec(cause.message) ?? [];
      const where = character === undefined || text !== this.#text ? '' : ` at character ${character}`;
      const why = `${what[0].toLowerCase()}${what.slice(1)}`;
      throw new BlindbeatError('USAGE', `${quoted(this.#text)} cannot be read${where}: ${why}.`, { cause });
    }
  }

  #part(node: MathNode): Fn {
    const { isConstantNode, isFunctionNode, isOperatorNode, isParenthesisNode, isSymbolNode } = this.#mathjs;
    if (isParenthesisNode(node)) return this.#part(node.content);
    if (isConstantNode(node)) return this.#number(node.value);
    if (isSymbolNode(node)) return this.#symbol(node.name);
    if (isOperatorNode(node) && node.fn === 'divide') this.#requireOneReading(node.args);
    if (isOperatorNode(node)) return this.#apply(node.op, OPERATORS.get(node.fn), node.args);
    if (isFunctionNode(node) && isSymbolNode(node.fn)) return this.#call(node.fn.name, node.args);
    throw usage(`${quoted(this.#text)} has ${quoted(node.toString())} in it: ${ALLOWED}`);
  }

  /** `x/2 (1 + x)` is x / (2 (1 + x)) to mathjs, and (x/2) (1 + x) to most people. */
  #requireOneReading([over, under]: MathNode[]): void {
    if (!this.#mathjs.isOperatorNode(under) || !under.implicit) return;
    const [a, b, c] = [over, ...under.args].map(String);
    throw usage(
      `${quoted(this.#text)} can be read in two ways: write (${a} / ${b}) * ${c}, or ${a} / (${b} * ${c}).`,
    );
  }

  #number(value: unknown): Fn {
    if (typeof value === 'number' && Number.isFinite(value)) return () => value;
    throw usage(`${quoted(this.#text)} has ${value} in it: expected finite numbers.`);
  }

  #symbol(name: string): Fn {
    if (name === 'x') {
      this.#hasVariable = true;
      return (x) => x;
    }
    const value = CONSTANTS.get(name);
    if (value !== undefined) return () => value;
    throw usage(
      FUNCTIONS.has(name)
        ? `${quoted(this.#text)} has the function ${name} without its value: write ${name}(x).`
        : `${quoted(this.#text)} has ${quoted(name)} in it: ` +
            'the only variable is x, the constants are pi and e.',
    );
  }

  #call(name: string, values: MathNode[]): Fn {
    if (name === 'x' || CONSTANTS.has(name)) {
      throw usage(`${quoted(this.#text)} calls ${name} as a function: write ${name} * (…) for a product.`);
    }
    const known = FUNCTIONS.get(name);
    if (known) return this.#apply(name, known, values);
    throw usage(
      `${quoted(this.#text)} calls ${quoted(name)}. Known functions are ${EXPRESSION_FUNCTIONS.join(', ')}.`,
    );
  }

  #apply(name: string, operation: Operation | undefined, nodes: MathNode[]): Fn {
    if (!operation) throw usage(`${quoted(this.#text)} has the operator ${quoted(name)} in it: ${ALLOWED}`);
    const { of, takes: [least, most] = [1, 1], switches } = operation;
    if (nodes.length < least || nodes.length > most) {
      const count = most > least ? `${least} values or more` : least > 1 ? `${least} values` : 'one value';
      throw usage(`${quoted(this.#text)}: ${name} takes ${count}, got ${nodes.length}.`);
    }
    const [head, ...rest] = nodes.map((node) => this.#part(node));
    const apply = (...values: Fn[]): Fn => {
      const [a, b] = values;
      this.switches.push(...(switches?.(values) ?? []));
      return b ? (x) => of(a(x), b(x)) : (x) => of(a(x), 0);
    };
    return rest.length === 0 ? apply(head) : rest.reduce((a, b) => apply(a, b), head);
  }
}

function usage(message: string): BlindbeatError {
  return new BlindbeatError('USAGE', message);
}

/** A text in quotation marks, its beginning if it is long. */
function quoted(text: string): string {
  return `"${text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text}"`;
}
