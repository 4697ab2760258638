export { forwardLoose, forwardTight, inverse } from './ntt';
export {
  add,
  addPeriodic,
  periodicProducts,
  permute,
  placeKey,
  shift,
  square,
  subtractMultiply,
  subtractMultiplyAdd,
  switchProducts,
} from './products';
