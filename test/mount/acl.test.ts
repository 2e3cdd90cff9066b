// ACLs and attributes over the death of the driver, an unmount, and a mount without ACLs.
import { expect, it } from 'vitest';
import { USER, describeOnMount } from '../support/mount.ts';
import { hasProgram } from '../support/programs.ts';

const skipped = !hasProgram('setfacl');
const SET = `
  umask 077; mkdir d; chmod 755 . d; setfacl -m d:u:${USER.uid}:rw,d:o::- d; echo text >d/file; mkdir d/sub
  setfattr -n user.a -v 1 d/file; setfattr -n trusted.b -v 2 d
`;
const LIST = 'getfacl -Rn d; getfattr -Rd -m . d';

describeOnMount('ACLs and attributes', { faults: true }, (mount) => {
  it.skipIf(skipped)('are kept by a driver that is killed, and its successor hands down and enforces them as before', async () => {
    await mount().sh(SET);
    const before = await mount().sh(LIST);
    await mount().kill('driver');
    expect(await mount().sh(LIST)).toBe(before);
    await mount().sh('umask 077; echo text >d/later; umask 027; touch masked; test "$(stat -c %a masked)" = 640; chmod 711 d');
    await mount().sh('echo more >>d/later && echo more >>d/file', USER);
    expect((await mount().run('sh', ['-c', `echo more >>${mount().path('d/later')}`], { uid: 12_399 })).code).not.toBe(0);
    expect(await mount().sh('getfacl -cn d/later | grep -c mask::rw-')).toBe('1\n');
  });

  it.skipIf(skipped)('are made once, while drivers are killed', { timeout: 120_000 }, async () => {
    const work = mount().sh(`
      mkdir many; setfacl -m d:u:5:rwx many
      for i in $(seq 400); do mkdir many/$i; setfacl -m u:6:r many/$i; setfattr -n user.i -v $i many/$i; setfattr -x user.i many/$i; setfacl -x u:5 many/$i; done
    `, { timeoutMs: 100_000 });
    for (let kills = 0; kills < 3; kills++) {
      await new Promise((resolve) => { setTimeout(resolve, 400); });
      await mount().untilReady();
      await mount().kill('driver');
    }
    await work;
    const entries = (await mount().sh('cd many; getfacl -cn [0-9]*')).split('\n');
    const count = (prefix: string): number => entries.filter((line) => line.startsWith(prefix)).length;
    expect([count('user:6:r--'), count('default:user:5:rwx'), count('user:5'), await mount().sh('getfattr -m user many/[0-9]*')]).toEqual([400, 400, 0, '']);
  });

  it.skipIf(skipped)('are there after an unmount', async () => {
    const before = await mount().sh(LIST);
    await mount().umount();
    await mount().mount();
    expect(await mount().sh(LIST)).toBe(before);
  });
});

describeOnMount('a mount without ACLs', { mountOptions: 'noacl' }, (mount) => {
  it.skipIf(skipped)('refuses to set them, and leaves the umask to the kernel', async () => {
    const refused = await mount().run('setfacl', ['-m', 'u:5:r', mount().mountpoint]);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('not supported')]);
    await mount().sh('umask 027; touch masked; mkdir masked.d; test "$(stat -c %a masked masked.d | xargs)" = "640 750"; setfattr -n user.a -v 1 masked');
  });
});
