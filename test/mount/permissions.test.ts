// Permissions on a mount, as ordinary users see them.
import { expect, it } from 'vitest';
import { OTHER_USER, USER, describeOnMount } from '../support/mount.ts';
import { hasProgram } from '../support/programs.ts';

describeOnMount('permissions', {}, (mount) => {
  const asUser = (script: string): Promise<string> => mount().sh(script, { ...USER, env: { ...mount().env, HOME: '/' } });
  const asOther = (script: string): Promise<string> => mount().sh(script, { ...OTHER_USER, env: { ...mount().env, HOME: '/' } });
  /** The script's steps must each be refused. */
  const refused = (...steps: string[]): string => steps.map((step) => `if (${step}) 2>/dev/null; then echo "allowed: ${step}"; exit 1; fi`).join('\n');

  it('ordinary users use the mount', async () => {
    await mount().sh('mkdir home && chown 12345:12345 home');
    await asUser('cd home && echo mine >file && mkdir dir && mv file dir && test "$(cat dir/file)" = mine && test "$(stat -c %u:%g dir/file)" = 12345:12345');
  });

  it('modes keep others out', async () => {
    await mount().sh('mkdir shared && chmod 777 shared && echo secret >shared/secret && chmod 600 shared/secret && mkdir -m 700 shared/private && echo x >shared/private/x');
    await asUser(refused('cat shared/secret', 'echo x >>shared/secret', 'ls shared/private', 'cat shared/private/x', 'chmod 777 shared/secret', 'chown 12345 shared/secret', 'truncate -s 0 shared/secret', 'echo x >at-the-root', 'ln -s x root-link', 'mkdir root-dir'));
  });

  it('the umask applies', async () => {
    await asUser('cd home && umask 027 && touch masked && mkdir maskeddir && test "$(stat -c %a masked maskeddir | tr "\\n" " ")" = "640 750 "');
  });

  it('only the owner and root change modes, owners and times', async () => {
    await asUser('cd home && touch owned && chmod 666 owned && touch -d 2001-01-01 owned');
    await mount().sh('chmod 777 home');
    await asOther(`cd home; echo ok >>owned\n${refused('chmod 600 owned', 'touch -d 2002-01-01 owned', 'chgrp 12346 owned')}`);
    await asUser(refused('chown 12346 home/owned', 'chgrp 0 home/owned'));
  });

  it('a sticky directory lets only owners remove', async () => {
    await mount().sh('mkdir -m 1777 sticky');
    await asUser('touch sticky/mine');
    await asOther(`touch sticky/theirs\n${refused('rm -f sticky/mine', 'mv sticky/mine sticky/taken', 'mv sticky/theirs sticky/mine')}`);
    await asUser('rm sticky/mine');
    await mount().sh('rm sticky/theirs');
  });

  it('a setgid directory hands down its group, and itself to directories', async () => {
    await mount().sh(`
      mkdir setgid && chgrp 54321 setgid && chmod 2777 setgid
      umask 022 && touch setgid/file && mkdir setgid/dir
      test "$(stat -c '%g %a' setgid/file)" = '54321 644' && test "$(stat -c '%g %a' setgid/dir)" = '54321 2755'
    `);
    await asUser('touch setgid/users && test "$(stat -c %g setgid/users)" = 54321');
  });

  it('setgid is not kept by a file whose group is not the caller\'s', async () => {
    await asUser('touch setgid/program && chmod 2755 setgid/program && test "$(stat -c %a setgid/program)" = 755');
  });

  it('writing clears suid and sgid for ordinary users, and chown does for all', async () => {
    await mount().sh('cd home && printf x >suid && chmod 6777 suid && printf y >chowned && chmod 6755 chowned && chown 1:1 chowned && test "$(stat -c %a chowned)" = 755');
    await asOther('cd home && printf more >>suid && test "$(stat -c %a suid)" = 777');
    await mount().sh('cd home && chmod 6777 suid');
    await asOther('cd home && truncate -s 1 suid && test "$(stat -c %a suid)" = 777');
    await mount().sh('cd home && chmod 2745 suid && printf z >>suid && test "$(stat -c %a suid)" = 2745');
  });

  it('access and execution follow the mode', async () => {
    await asUser(`cd home && printf '#!/bin/sh\\necho ran\\n' >script && chmod 755 script && test "$(./script)" = ran && chmod 644 script\n${refused('./script')}`);
    await mount().sh('cp /bin/true home/true && chmod 700 home/true && chown 12346 home/true');
    await asUser(refused('home/true'));
    await asOther('home/true');
  });

  it.skipIf(!hasProgram('setfattr'))('trusted attributes are for root, user attributes for those who may write', async () => {
    await mount().sh('touch home/attributed && chmod 644 home/attributed && setfattr -n user.a -v 1 home/attributed && setfattr -n trusted.b -v 1 home/attributed');
    await asUser(`test "$(getfattr --only-values -n user.a home/attributed)" = 1\n${refused('setfattr -n user.a -v 2 home/attributed', 'getfattr -n trusted.b home/attributed', 'setfattr -n trusted.c -v 1 home/attributed')}`);
  });

  it('ordinary users cannot read the files of the disks and of the volume', async () => {
    const { disks, volume } = mount();
    await mount().sh('echo secret >only-root && sync only-root');
    expect(await asUser(`find ${disks.join(' ')} ${volume} -type f -readable ! -name sdfs-volume.json 2>/dev/null || true`)).toBe('');
  });
});
