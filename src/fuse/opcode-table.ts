// The one table of all operations, by opcode. An opcode without a row is answered with ENOSYS.
import { assert } from '../base/assert.ts';
import { ATTRIBUTE_OPERATIONS } from './attribute-operations.ts';
import { CONTROL_OPERATIONS } from './control-operations.ts';
import { DATA_OPERATIONS } from './data-operations.ts';
import { DIRECTORY_OPERATIONS } from './directory-operations.ts';
import { LOCK_OPERATIONS } from './lock-operations.ts';
import { NAME_OPERATIONS } from './name-operations.ts';
import type { Operation } from './operation.ts';
import { XATTR_OPERATIONS } from './xattr-operations.ts';

const table: (Operation | undefined)[] = [];
for (const rows of [CONTROL_OPERATIONS, NAME_OPERATIONS, ATTRIBUTE_OPERATIONS, DATA_OPERATIONS, LOCK_OPERATIONS, DIRECTORY_OPERATIONS, XATTR_OPERATIONS]) {
  for (const [opcode, operation] of rows) {
    assert(table[opcode] === undefined, `opcode ${opcode} has one row`);
    table[opcode] = operation;
  }
}

/** Indexed by opcode; holes are opcodes that this driver does not know. */
export const OPERATIONS: readonly (Operation | undefined)[] = table;
